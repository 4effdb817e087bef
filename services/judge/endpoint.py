"""Asks a language model behind an OpenAI-compatible endpoint for answers of a given form.

    endpoint = Endpoint(Settings("http://127.0.0.1:8000/v1", "my-model"))
    answer = await endpoint.ask(messages, Choice, seconds=60)          # a Choice, or EndpointError

Belongs to the event loop in which `ask` is first awaited. Cancelling `ask` closes its
connection, on which servers such as vLLM stop generating.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from services.judge.answers import Completion, MisfitError, read_answer
from services.judge.endpoint_metrics import ANSWERS, RETRIES
from services.judge.exchange import Exchange, PassingError, RefusedError
from services.judge.pauses import pause_seconds
from services.judge.settings import Settings
from services.server.logs import get_logger
from services.verdicts import ErrorReason

Form = TypeVar("Form", bound=BaseModel)

REFUSING = frozenset({400, 404, 415, 422, 501})
"""What servers say to a field that they do not know; then the request is made once more without it."""
AGAIN = (
    "Your answer could not be read. Answer again, with one JSON object as described and nothing else: no text around it,"
    " no other braces."
)


class EndpointError(Exception):
    """Why there is no answer; `reason` and `message` are those of an `ItemError`. Holds neither texts nor keys."""

    def __init__(self, reason: ErrorReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Endpoint:
    """An endpoint, and what was learnt of it."""

    def __init__(self, settings: Settings) -> None:
        """Raises StartError where the key is not there."""
        self._settings = settings
        self._exchange = Exchange(settings)
        self._host = settings.host
        self._structured: bool | None = None

    async def ask(self, messages: Sequence[Mapping[str, str]], form: type[Form], seconds: float) -> Form:
        """The model's answer as an object of `form`, all within `seconds`.

        messages: `role` and `content` of each. form: a flat model; its JSON schema is what the endpoint has to keep to.
        An answer that does not fit is asked for again, and never completed or guessed. Raises EndpointError:
        UNAVAILABLE where the endpoint is gone or busy for all tries, DEADLINE where the time is over, SCORER_FAILED
        where it refuses the request or no answer fits.
        """
        deadline = time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(messages, form, deadline)
        except TimeoutError:
            raise self._error(ErrorReason.DEADLINE, f"gave no answer within {seconds:.3g} seconds") from None

    async def _ask(self, messages: Sequence[Mapping[str, str]], form: type[Form], deadline: float) -> Form:
        why = ""
        for attempt in range(self._settings.answers):
            completion = await self._complete(_reminded(messages) if attempt else messages, form, deadline)
            try:
                answer = read_answer(completion, form)
            except MisfitError as error:
                why = error.why
                ANSWERS.add(outcome=why)
            else:
                ANSWERS.add(outcome="fits")
                return answer
        meaning = {
            "truncated": f"they were cut off at {self._settings.max_tokens} tokens; --max-tokens gives them more",
            "refused": "the model refused",
            "not_json": "not one JSON object",
            "misfit": "JSON of another form, or out of range",
        }
        complaint = f"gave {self._settings.answers} answers that cannot be read; the last: {meaning[why]}"
        raise self._error(ErrorReason.SCORER_FAILED, complaint)

    async def _complete(
        self, messages: Sequence[Mapping[str, str]], form: type[BaseModel], deadline: float
    ) -> Completion:
        """One completion; structured, unless the endpoint's first answers show that it cannot do that."""
        body = self._body(messages)
        if self._structured is not False:
            try:
                completion = await self._persist(body | {"response_format": _format(form)}, deadline)
            except RefusedError as error:
                if self._structured or error.status not in REFUSING:
                    raise self._refusal(error) from None
            else:
                self._structured = True
                return completion
        try:
            completion = await self._persist(body, deadline)
        except RefusedError as error:
            raise self._refusal(error) from None
        if self._structured is None:
            self._structured = False
            get_logger().warning("the endpoint refuses structured output; answers are read from text", host=self._host)
        return completion

    def _body(self, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        settings = self._settings
        body = {
            "model": settings.model,
            "messages": list(messages),
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            **settings.extra_body,
        }
        return {name: value for name, value in body.items() if value is not None}

    async def _persist(self, body: Mapping[str, Any], deadline: float) -> Completion:
        """Makes the request until it is answered. Raises RefusedError, EndpointError."""

        def over(state: RetryCallState) -> bool:
            return state.attempt_number >= self._settings.tries or time.monotonic() + state.upcoming_sleep >= deadline

        def count(state: RetryCallState) -> None:
            error: Any = state.outcome and state.outcome.exception()
            RETRIES.add(after=error.after)

        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingError),
            wait=pause_seconds,
            stop=over,
            before_sleep=count,
            reraise=True,
        )
        tries = 0
        try:
            async for attempt in retrying:
                with attempt:
                    tries += 1
                    return await self._exchange.post(content)
        except PassingError as error:
            raise self._unavailable(error, tries) from None
        raise AssertionError("tenacity ends with an answer or an error")

    def _error(self, reason: ErrorReason, what: str) -> EndpointError:
        return EndpointError(reason, f"the judge's endpoint {self._host} {what}")

    def _unavailable(self, error: PassingError, tries: int) -> EndpointError:
        times = f"{tries} {'try' if tries == 1 else 'tries'}"
        wait = (
            f", and asks for {error.retry_after_seconds:.3g} seconds of patience" if error.retry_after_seconds else ""
        )
        match error.after:
            case "garbage":
                complaint = (
                    f"answers with what is no chat completion ({times}); --base-url ends with /v1 for most servers"
                )
                return self._error(ErrorReason.SCORER_FAILED, complaint)
            case "connection":
                what = f"cannot be reached, or breaks the connection ({times}); see --base-url"
            case "timeout":
                what = f"takes longer than --request-seconds ({times})"
            case status:
                what = f"answers {status} ({times}){wait}"
        return self._error(ErrorReason.UNAVAILABLE, what)

    def _refusal(self, error: RefusedError) -> EndpointError:
        settings = self._settings
        if error.status in (401, 403):
            variable = settings.api_key_variable
            what = (
                f"it wants another key than {variable} holds" if variable else "it wants a key: see --api-key-variable"
            )
        elif error.status == 404:
            what = f"it has no model {settings.model!r} (--model), or --base-url lacks its /v1"
        elif 300 <= error.status < 400:
            what = "--base-url has moved"
        else:
            what = "it refuses the request; too long for the model's context, or a field that it does not know: see --max-tokens and --extra-body"
        code = f" ({error.code})" if error.code else ""
        return self._error(ErrorReason.SCORER_FAILED, f"answers {error.status}{code}: {what}")


def _reminded(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """With the reminder in the last message: many chat templates refuse two of one role in a row."""
    *before, last = messages
    return [*before, {**last, "content": f"{last['content']}\n\n{AGAIN}"}]


def _format(form: type[BaseModel]) -> dict[str, Any]:
    schema = {"name": form.__name__, "strict": True, "schema": form.model_json_schema()}
    return {"type": "json_schema", "json_schema": schema}
