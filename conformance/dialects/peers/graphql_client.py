"""gql, unmodified, over WebSocket and HTTP: graphql_client.py PORT. Prints a line for each check."""

from __future__ import annotations

import asyncio
import sys

from gql import Client, GraphQLRequest, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportConnectionFailed, TransportError, TransportQueryError
from gql.transport.websockets import WebsocketsTransport

PORT = sys.argv[1]
WS = f"ws://127.0.0.1:{PORT}/graphql"
HTTP = f"http://127.0.0.1:{PORT}/graphql"
PUBLISH = "mutation($data: JSON!) { publish(channel: \"gql\", data: $data) { offset } }"
SUBSCRIBE = "subscription($since: Since) { channel(name: \"gql\", since: $since) { data at { epoch offset } } }"


def ok(what: str) -> None:
    print(f"ok {what}", flush=True)


def request(query: str, **variables: object) -> GraphQLRequest:
    return GraphQLRequest(gql(query), variable_values=variables)


async def over_http() -> None:
    async with Client(transport=AIOHTTPTransport(url=HTTP), fetch_schema_from_transport=True) as session:
        answer = await session.execute(request(PUBLISH, data={"text": "Grüße"}))
        assert answer == {"publish": {"offset": "1"}}, answer
        found = await session.execute(request("{ history(channel: \"gql\") { messages { data } } }"))
        assert found == {"history": {"messages": [{"data": {"text": "Grüße"}}]}}, found
        ok("gql over HTTP: validates by the server's schema, publishes and reads")
        try:
            await session.execute(request("{ history(channel: \"\") { more } }"))
        except TransportQueryError as error:
            assert error.errors[0]["path"] == ["history"], error
            ok("gql over HTTP: an error of a field")


async def over_websocket() -> None:
    async with Client(transport=WebsocketsTransport(url=WS), fetch_schema_from_transport=True) as session:
        results = session.subscribe(request(SUBSCRIBE, since={"epoch": "1", "offset": "5"}))
        try:
            await anext(results)
        except TransportQueryError as error:
            assert error.errors[0]["extensions"]["code"] == "gap", error
            ok("gql over WebSocket: a gap is an error")
        heard: asyncio.Queue[dict] = asyncio.Queue()

        async def listen() -> None:
            async for result in session.subscribe(request(SUBSCRIBE)):
                await heard.put(result["channel"])

        listening = asyncio.create_task(listen())
        # Answered after the subscription began.
        await session.execute(request("{ history(channel: \"gql\", limit: 0) { offset } }"))
        for n in range(3):
            await session.execute(request(PUBLISH, data=n))
        got = [await heard.get() for _ in range(3)]
        assert [one["data"] for one in got] == [0, 1, 2], got
        ok("gql over WebSocket: publishes and receives in order")
        listening.cancel()
    return got[0]["at"]


async def recover(at: dict) -> None:
    """The server is killed in the middle."""
    transport = WebsocketsTransport(url=WS)
    async with Client(transport=transport) as session:
        results = session.subscribe(request(SUBSCRIBE, since=at))
        assert (await anext(results))["channel"]["data"] == 1
        second = (await anext(results))["channel"]
        assert second["data"] == 2
        print("kill", flush=True)
        try:
            await anext(results)
        except (TransportError, TransportConnectionFailed, StopAsyncIteration):
            ok("gql over WebSocket: notices that the server was killed")
        await results.aclose()
    while True:
        try:
            async with Client(transport=AIOHTTPTransport(url=HTTP)) as session:
                await session.execute(request(PUBLISH, data="after the kill"))
            break
        except Exception as error:  # noqa: BLE001, until the server listens again
            # The server that is being killed may still accept a connection, and reset it.
            gone = ("Cannot connect", "reset", "Can not write")
            if not any(words in str(error) for words in gone):
                raise
            await asyncio.sleep(0.1)
    async with Client(transport=WebsocketsTransport(url=WS)) as session:
        results = session.subscribe(request(SUBSCRIBE, since=second["at"]))
        assert (await anext(results))["channel"]["data"] == "after the kill"
        # Otherwise the client waits for 10 s before it closes.
        await results.aclose()
        ok("gql over WebSocket: a position from before the kill continues without a gap")


async def main() -> None:
    await over_http()
    await recover(await over_websocket())
    print("done", flush=True)


asyncio.run(main())
