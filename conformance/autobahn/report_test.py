"""Tests that the evaluation reports failures; run with `python3 -m unittest` in
this folder.
"""

import tempfile
import unittest
from pathlib import Path

from report import Malformed, judge, read_allowed
from suite import Outcome


def outcome(behavior="OK", closing="OK", expected=1):
    case = {
        "behavior": behavior,
        "behaviorClose": closing,
        "remoteCloseCode": 1000,
        "reportfile": "offhook_case_7_1_5.json",
    }
    return Outcome(expected, {"7.1.5": case}, Path("reports"))


class Judging(unittest.TestCase):
    def test_ok_and_informational_pass(self):
        for behavior in ("OK", "INFORMATIONAL"):
            self.assertTrue(judge("server", outcome(behavior), {}).passed())
        self.assertTrue(judge("server", outcome("INFORMATIONAL", "INFORMATIONAL"), {}).passed())

    def test_anything_else_fails(self):
        for behavior in ("FAILED", "NON-STRICT", "UNIMPLEMENTED", "a word of tomorrow"):
            self.assertFalse(judge("server", outcome(behavior), {}).passed())
        for closing in ("FAILED", "UNCLEAN", "WRONG CODE", "FAILED BY CLIENT"):
            verdict = judge("server", outcome("OK", closing), {})
            self.assertFalse(verdict.passed())
            self.assertEqual(verdict.sections[7].failed, 1)

    def test_non_strict_passes_only_for_the_role_and_case_on_the_list(self):
        allowed = {("server", "7.1.5"): "why"}
        self.assertTrue(judge("server", outcome("NON-STRICT"), allowed).passed())
        self.assertFalse(judge("client", outcome("NON-STRICT"), allowed).passed())
        self.assertFalse(judge("server", outcome("NON-STRICT", "UNCLEAN"), allowed).passed())

    def test_a_case_that_did_not_run_fails(self):
        self.assertFalse(judge("server", outcome(expected=2), {}).passed())
        self.assertFalse(judge("server", Outcome(0, {}, Path("reports")), {}).passed())

    def test_an_allowance_needs_a_role_and_a_reason(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as page:
            page.write("# comment\n\nserver 6.4.1 seen at the fragment's end\n")
            page.flush()
            self.assertEqual(list(read_allowed(Path(page.name))), [("server", "6.4.1")])
            for line in ("server 6.4.1\n", "both 6.4.1 because\n"):
                page.write(line)
                page.flush()
                self.assertRaises(Malformed, read_allowed, Path(page.name))
                page.seek(0)
                page.truncate()


if __name__ == "__main__":
    unittest.main()
