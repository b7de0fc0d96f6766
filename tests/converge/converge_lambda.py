"""Table A: the function as deployed, in two environments, behind the tests' mapping, factor 4."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from random import Random
from typing import Any

from binlog.clock import SystemClock
from tests.converge.converge_rules import APPLIERS
from tests.converge.converge_stage import STREAM, Stage
from tests.lambda_consumer.event_source_mapping import STREAM_ARN, FailedError, Mapping, Settings
from tests.lambda_consumer.lambda_api import LambdaAPI
from tests.lambda_consumer.live_source import LiveSource
from tests.lambda_consumer.runtime_api import Answer, Function

STORE = "dynamodb://live"
TIMEOUT_S = 60.0
TROUBLE = ("timed out", "invocation overlapped", "environment killed")
_MAPPING = {
    "UUID": "m1",
    "EventSourceArn": STREAM_ARN.format(STREAM),
    "StartingPosition": "TRIM_HORIZON",
    "FunctionResponseTypes": ["ReportBatchItemFailures"],
    "ParallelizationFactor": 4,
}


class LambdaConsumer:
    """Its mapping runs in a thread of the stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._random = Random(f"{stage.options.seed} lambda")
        self._proxy = stage.proxy(stage.tables_url, "lambda")
        self.url = f"{STORE}?endpoint={stage.tables_url}"
        self._functions: list[Function] = []
        self._redeploy = threading.Event()
        self.idle = threading.Event()

    @contextmanager
    def running(self) -> Iterator[LambdaConsumer]:
        with ExitStack() as stack:
            api = stack.enter_context(LambdaAPI([_MAPPING]).running())
            environment = {
                "BINLOG_LOG": f"kinesis://{STREAM}",
                "BINLOG_STORE": STORE,
                "BINLOG_APPLIERS": APPLIERS,
                "BINLOG_SAME_MEANING": "yes",
                "AWS_ENDPOINT_URL_KINESIS": self._stage.kinesis_proxy.url,
                "AWS_ENDPOINT_URL_DYNAMODB": self._proxy.url,
                "AWS_ENDPOINT_URL_LAMBDA": api.url,
            }
            for _ in range(2):
                function = Function(self._stage.code, environment, timeout_s=TIMEOUT_S)
                stack.callback(function.kill)
                self._functions.append(function)
            thread = self._stage.run("mapping", self._run)
            try:
                yield self
            finally:
                # Whatever the end is: a mapping that goes on would make environments that nobody kills.
                self._stage.stop()
                thread.join(2 * TIMEOUT_S)

    def redeploy(self) -> None:
        """New code: environments are made anew."""
        self._redeploy.set()
        self._stage.wait("the function's new code", lambda: not self._redeploy.is_set())

    def _run(self) -> None:
        how = Settings(parallelization=4, batch_size=50, bisect=True)
        source = LiveSource(self._stage.service)
        mapping = Mapping(source, self._invoke, how, clock=SystemClock(), random=self._random)
        while not self._stage.is_over:
            if self._redeploy.is_set():
                for function in self._functions:
                    function.kill()
                self._redeploy.clear()
            if mapping.step():
                self.idle.clear()
            else:
                self.idle.set()
                time.sleep(0.1)
        self._stage.met["batches cut (lambda)"] = mapping.partial

    # -- what becomes of an invocation -------------------------------------------------------------

    def _invoke(self, event: dict[str, Any]) -> Any:
        answer = self._trouble(event, self._random.sample(self._functions, 2))
        self._stage.met[f"invocation: {answer.kind}"] += 1
        if answer.failed:
            raise FailedError(f"{answer.kind}: {answer.body}")
        return answer.body

    def _trouble(self, event: dict[str, Any], functions: list[Function]) -> Answer:
        one, other = functions
        met = self._stage.met
        # Of a machine that is busy there are few invocations: each kind is to occur early.
        often = 0.25 if all(met[kind] for kind in TROUBLE) else 0.75
        if not one.is_warm or self._random.random() > often:
            return one.invoke(event)
        match min(TROUBLE, key=lambda kind: (met[kind], self._random.random())):
            case "timed out":
                answer = one.invoke(event, timeout_s=self._random.uniform(0.01, 0.06))
                met["timed out"] += answer.kind == "timed out"
                return answer
            case "environment killed":
                met["environment killed"] += 1
                one.kill()
                return one.invoke(event)
        return self._overlap(event, one, other)

    def _overlap(self, event: dict[str, Any], one: Function, other: Function) -> Answer:
        """The service takes the first for lost, and it wakes up when the other has done the work."""
        answers: list[Answer] = []
        process = one.process_id
        # Its time goes on while it stands still, and the other one may be long.
        timeout_s = self._stage.options.step_s

        def invoke() -> None:
            answers.append(one.invoke(event, timeout_s=timeout_s))

        thread = threading.Thread(target=invoke, daemon=True)
        thread.start()
        thread.join(self._random.uniform(0.005, 0.05))
        if not thread.is_alive():
            return answers[0]
        os.kill(process, signal.SIGSTOP)
        try:
            if answers:
                return answers[0]
            answer = other.invoke(event)
        finally:
            os.kill(process, signal.SIGCONT)
            thread.join(timeout_s + TIMEOUT_S)
        self._stage.met["invocation overlapped"] += answers[0].kind != "timed out"
        return answer
