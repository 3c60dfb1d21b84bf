"""The application of uvicorn_server.py: it takes no uploads, without a word, and tells news."""

import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["method"] == "POST":
        await store_upload()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while True:
        await send({"type": "http.response.body", "body": b"data: news\n\n", "more_body": True})
        await asyncio.sleep(0.1)


async def store_upload():
    # It waits for a store that never comes, instead of for what is sent.
    await asyncio.Event().wait()
