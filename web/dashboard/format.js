// Numbers as people read them.

const LOCALE = 'en';
const whole = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(LOCALE, { maximumSignificantDigits: 3 });

export const count = (value) => (Math.abs(value) >= 100 || Number.isInteger(value) ? whole.format(value) : short.format(value));

export const rate = (value) => `${count(value)}/s`;

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytes(value) {
  let [scaled, unit] = [value, 0];
  while (scaled >= 1024 && unit < UNITS.length - 1) [scaled, unit] = [scaled / 1024, unit + 1];
  return `${short.format(scaled)} ${UNITS[unit]}`;
}

export function seconds(value) {
  if (value < 0.001) return `${short.format(value * 1e6)} µs`;
  return value < 1 ? `${short.format(value * 1e3)} ms` : `${short.format(value)} s`;
}

/** The time of day, in milliseconds since 1970. */
export function clock(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? 'unknown' : at.toLocaleTimeString('en-GB');
}

/** With the date and milliseconds, in UTC. */
export function moment(ms) {
  const at = new Date(ms);
  return Number.isNaN(at.getTime()) ? 'unknown' : at.toISOString().replace('T', ' ');
}

export function duration(total) {
  const [days, hours, minutes] = [Math.floor(total / 86_400), Math.floor(total / 3600) % 24, Math.floor(total / 60) % 60];
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${Math.floor(total)} s`;
}

/** Data of a publication as text, shortened. */
export function data(message, most = 2000) {
  const text = message.base64 === undefined ? JSON.stringify(message.data) ?? '' : `base64: ${message.base64}`;
  return text.length > most ? `${text.slice(0, most)}… (${count(text.length)} characters)` : text;
}
