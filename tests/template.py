"""Checks what no linter can check in template.yaml: that its names match the code and the runbook.

Alarms and the dashboard name metrics, codes, functions and queues in plain text. If one is misspelled, nothing fails, and no
alarm fires. `make lint` runs this. It needs PyYAML and no AWS account.
"""

import functools
import itertools
import json
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The metrics of the log line (src/metrics.rs).
METRICS = {
    "amplitude_milliseconds",
    "cold_start",
    "dead",
    "deferred",
    "failed",
    "forwarded",
    "ignored",
    "not_ingested",
    "parameter_store_milliseconds",
    "queued",
    "refused",
    "seconds_behind_stripe",
    "secret_rolling",
    "stripe_milliseconds",
    "stripe_reads_failed",
    "unknown_revenue",
    "without_user",
}

# Metrics by namespace, with the name of their only dimension.
NAMESPACES = {
    "stripe-amplitude": ("function", METRICS),
    "AWS/Lambda": (
        "FunctionName",
        {"ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles", "Url4xxCount", "Url5xxCount"},
    ),
    "AWS/SQS": (
        "QueueName",
        {
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesVisible",
        },
    ),
    "AWS/ApiGateway": ("ApiId", {"4xx", "5xx", "Count"}),
}

# Valid values of the dimensions.
DIMENSIONS = {
    "function": {"Function", "RedeliveryFunction"},
    "FunctionName": {"Function", "RedeliveryFunction"},
    "QueueName": {"Queue.QueueName", "DeadLetterQueue.QueueName"},
    "ApiId": {"HttpApi", "none"},
}

# Variables that Lambda sets, or that are not used on Lambda.
NOT_OF_THE_TEMPLATE = {
    "AWS_ACCESS_KEY_ID",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_LOG_LEVEL",
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
}

# Variables that one of the two functions does not read.
NOT_OF_THE_FUNCTION = {
    "Function": {"BATCHES_AT_ONCE", "DEAD_LETTER_QUEUE_URL"},
    "RedeliveryFunction": {"DELIVERY", "SIGNATURE_TOLERANCE_SECONDS", "WARM_PROJECTS"},
}

# A variable for the C library, which the code does not read.
ALLOCATOR = "GLIBC_TUNABLES"

# Keywords of CloudWatch Logs Insights, and Lambda's own fields.
INSIGHTS = {
    *"SOURCE and as asc by desc fields filter in ispresent like limit not or sort stats".split(),
    *"bin count count_distinct latest max sum".split(),
    *"@duration @maxMemoryUsed @message @requestId @timestamp @type".split(),
}

# API Gateway's variables that strangers cannot choose and that are not personal data.
ACCESS_LOG = {
    "$context.error.message",
    "$context.httpMethod",
    "$context.integration.status",
    "$context.integrationLatency",
    "$context.requestId",
    "$context.requestTime",
    "$context.responseLatency",
    "$context.responseLength",
    "$context.routeKey",
    "$context.status",
}

# Names in the runbook that belong to events for Amplitude, to Stripe's events and to Stripe's API.
OTHER_NAMES = {
    "device_id",
    "insert_id",
    "amount_received",
    "balance_transactions",
    "normalized_revenue_unknown",
    "previous_attributes",
    "products_incomplete",
    "starting_after",
    "stripe_source",
}

# The parameters that determine which resources exist, with all their values, the default first.
CHOICES = {
    "Gateway": ["HttpApi", "FunctionUrl"],
    "AccessLog": ["Disabled", "Enabled"],
    "ReservedConcurrency": ["", "200"],
    "RedeliveryQueue": ["Enabled", "Disabled"],
    "Alarms": ["Enabled", "Disabled"],
    "AlarmEmail": ["", "who@example.com"],
    "AlarmTopicArn": ["", "arn:aws:sns:eu-central-1:123456789012:alarms"],
    "OperatorRoles": [[], ["arn:aws:iam::*:role/operators/*", "arn:aws:iam::123456789012:role/on-call"]],
    "QueueKeyArn": ["", "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d"],
    "Tracing": ["Disabled", "Active"],
    "Dashboard": ["Enabled", "Disabled"],
}

NO_VALUE = object()

# Each mistake, with the non-default parameters with which it was first found.
mistakes: dict[str, str] = {}
choice = ""


def main() -> int:
    global choice
    template = load(ROOT / "template.yaml")
    # The fewest changes first, so that a mistake is reported with only the parameters that cause it.
    choices = [dict(zip(CHOICES, values)) for values in itertools.product(*CHOICES.values())]
    for parameters in sorted(choices, key=lambda parameters: len(changes(parameters))):
        choice = ", ".join(changes(parameters))
        check(Stack(template, parameters))
    choice = ""
    check_variables(template["Resources"])
    check_patterns(template["Parameters"])
    check_names("template.yaml", (ROOT / "template.yaml").read_text())
    check_runbook(template["Resources"])
    mistake_each(METRICS - names_in_log_line(), "the metric {} in tests/template.py is missing from src/metrics.rs")
    for text, seen_with in sorted(mistakes.items()):
        print(f"template: {text}" + (f" (with {seen_with})" if seen_with else ""), file=sys.stderr)
    if not mistakes:
        alarms = sum(resource["Type"] == "AWS::CloudWatch::Alarm" for resource in template["Resources"].values())
        print(f"template: {alarms} alarms and the dashboard use existing names")
    return bool(mistakes)


def changes(parameters: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in parameters.items() if value != CHOICES[name][0]]


def mistake(text: str) -> None:
    mistakes.setdefault(text, choice)


def mistake_each(names: set[str], text: str) -> None:
    for name in names:
        mistake(text.format(name))


# The CloudFormation functions that the template uses.


def load(path: pathlib.Path) -> dict:
    class Loader(yaml.SafeLoader):
        pass

    def function(loader: yaml.Loader, tag: str, node: yaml.Node) -> dict:
        if isinstance(node, yaml.ScalarNode):
            value = loader.construct_scalar(node)
        elif isinstance(node, yaml.SequenceNode):
            value = loader.construct_sequence(node, deep=True)
        else:
            value = loader.construct_mapping(node, deep=True)
        if tag == "GetAtt":
            value = value.split(".", 1)
        return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}

    Loader.add_multi_constructor("!", function)
    return yaml.load(path.read_text(), Loader)


class Stack:
    """The template as CloudFormation would resolve it with these parameters. A resource's name is used as its ID."""

    def __init__(self, template: dict, parameters: dict[str, str]) -> None:
        self.template = template
        self.parameters = {name: parameter.get("Default") for name, parameter in template["Parameters"].items()}
        self.parameters |= parameters
        self.resources = {name: each for name, each in template["Resources"].items() if self.has(each)}
        self.resources = {name: self.resolve(each, name) for name, each in self.resources.items()}
        for name, output in template["Outputs"].items():
            if self.has(output):
                self.resolve(output, f"the output {name}")

    def has(self, thing: dict) -> bool:
        return "Condition" not in thing or self.condition({"Condition": thing["Condition"]})

    def condition(self, condition: dict) -> bool:
        ((function, value),) = condition.items()
        match function:
            case "Condition":
                return self.condition(self.template["Conditions"][value])
            case "Fn::Equals":
                return self.resolve(value[0], "a condition") == self.resolve(value[1], "a condition")
            case "Fn::And":
                return all(self.condition(each) for each in value)
            case "Fn::Not":
                return not self.condition(value[0])
        raise NotImplementedError(function)

    def resolve(self, value: object, where: str) -> object:
        if isinstance(value, list):
            return [each for each in (self.resolve(each, where) for each in value) if each is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            match function:
                case "Ref":
                    return self.ref(argument, where)
                case "Fn::GetAtt":
                    self.ref(argument[0], where)
                    return ".".join(argument)
                case "Fn::If":
                    return self.resolve(argument[1 if self.condition({"Condition": argument[0]}) else 2], where)
                case "Fn::Sub":
                    return self.sub(argument, where)
                case "Fn::Join":
                    separator, parts = argument
                    parts = self.resolve(parts, where)
                    return separator.join(parts) if isinstance(parts, list) else parts
                case "Fn::Split":
                    return self.resolve(argument[1], where).split(argument[0])
                case "Fn::Select":
                    return self.resolve(argument[1], where)[argument[0]]
            if function.startswith("Fn::"):
                raise NotImplementedError(function)
        resolved = {key: self.resolve(each, where) for key, each in value.items()}
        return {key: each for key, each in resolved.items() if each is not NO_VALUE}

    def ref(self, name: str, where: str) -> object:
        pseudo = {
            "AWS::AccountId": "123456789012",
            "AWS::NoValue": NO_VALUE,
            "AWS::Partition": "aws",
            "AWS::Region": "eu-central-1",
            "AWS::StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/stack/0a1b2c3d-0000",
            "AWS::StackName": "stack",
            "AWS::URLSuffix": "amazonaws.com",
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        resource = self.template["Resources"].get(name)
        if resource is None:
            mistake(f"{where} refers to {name}, which does not exist")
        elif not self.has(resource):
            mistake(f"{where} refers to {name}, which does not always exist: its condition is {resource['Condition']}")
        return name

    def sub(self, argument: str | list, where: str) -> str:
        text, names = argument if isinstance(argument, list) else (argument, {})
        names = {name: self.resolve(value, where) for name, value in names.items()}

        def put_in(match: re.Match) -> str:
            name = match[1]
            if name in names:
                return str(names[name])
            resource, _, attribute = name.partition(".")
            value = str(self.ref(resource, where))
            return f"{value}.{attribute}" if attribute else value

        return re.sub(r"\$\{([^!}]+)\}", put_in, text)


# Checks for every combination of parameters.


def check(stack: Stack) -> None:
    for name, resource in stack.resources.items():
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::CloudWatch::Alarm":
                check_alarm(name, properties, stack)
            case "AWS::CloudWatch::Dashboard":
                check_dashboard(properties["DashboardBody"], stack)
            case "AWS::ApiGatewayV2::Stage":
                check_access_log(name, properties.get("AccessLogSettings"), stack)
        for policy in properties.get("Policies", []):
            check_policy(name, policy["PolicyDocument"])
        if resource["Type"] == "AWS::Serverless::Function" and not str(properties.get("Role", "")).endswith("Role.Arn"):
            mistake(f"{name} has no explicit role: SAM's role can write every log of the account")
        if "PolicyDocument" in properties:
            check_policy(name, properties["PolicyDocument"])
    check_reserved_concurrency(stack)
    if "Queue" in stack.resources:
        check_queues({name: resource.get("Properties", {}) for name, resource in stack.resources.items()})
        check_senders(stack)


def check_metric(where: str, namespace: str, metric: str, dimensions: dict[str, str], stack: Stack) -> None:
    if namespace not in NAMESPACES:
        return mistake(f"{where}: unknown namespace {namespace}")
    dimension, metrics = NAMESPACES[namespace]
    if metric not in metrics:
        mistake(f"{where}: {namespace} has no metric {metric}")
    if list(dimensions) != [dimension]:
        return mistake(f"{where}: {namespace} {metric} has the dimension {dimension}, not {', '.join(dimensions)}")
    if dimensions[dimension] not in DIMENSIONS[dimension]:
        mistake(f"{where}: {dimension} is {dimensions[dimension]}; expected one of {sorted(DIMENSIONS[dimension])}")


def check_alarm(name: str, alarm: dict, stack: Stack) -> None:
    if "Metrics" in alarm:
        measured = {query["Id"]: query["MetricStat"] for query in alarm["Metrics"] if "MetricStat" in query}
        returned = [query for query in alarm["Metrics"] if query.get("ReturnData", True)]
        if len(returned) != 1 or "Expression" not in returned[0]:
            return mistake(f"{name}: exactly one expression must return data, and nothing else")
        used = set(re.findall(r"\b[a-z][a-z_0-9]*\b", returned[0]["Expression"]))
        mistake_each(used ^ set(measured), f"{name}: its expression and its metrics differ in {{}}")
        metrics = [each["Metric"] for each in measured.values()]
        periods = {each["Period"] for each in measured.values()}
    else:
        metrics, periods = [alarm], {alarm["Period"]}
    for metric in metrics:
        dimensions = {each["Name"]: each["Value"] for each in metric["Dimensions"]}
        check_metric(name, metric["Namespace"], metric["MetricName"], dimensions, stack)
    if len(periods) != 1:
        return mistake(f"{name}: its metrics have different periods")
    (period,) = periods
    # CloudWatch's limits: a day, or a week if the period is an hour or more.
    if period * alarm["EvaluationPeriods"] > (86_400 if period < 3_600 else 7 * 86_400):
        mistake(f"{name}: it looks back further than CloudWatch allows")
    if "TreatMissingData" not in alarm:
        mistake(f"{name}: TreatMissingData is missing")
    actions = [
        value
        for value, wanted in (
            ("AlarmTopic", stack.parameters["AlarmEmail"]),
            (stack.parameters["AlarmTopicArn"], stack.parameters["AlarmTopicArn"]),
        )
        if wanted
    ]
    for key in ("AlarmActions", "OKActions"):
        if alarm.get(key) != actions:
            mistake(f"{name}: {key} is {alarm.get(key)}; expected {actions}")


def check_dashboard(body: str, stack: Stack) -> None:
    try:
        widgets = json.loads(body)["widgets"]
    except json.JSONDecodeError as error:
        line = body.splitlines()[error.lineno - 1].strip()
        return mistake(f"the dashboard's body is not JSON: {error.msg} in: {line}")
    taken: dict[tuple[int, int], str] = {}
    shown = set()
    for widget in widgets:
        properties = widget["properties"]
        title = properties.get("title", "its text")
        where = f"the dashboard's chart {title!r}"
        cells = itertools.product(
            range(widget["x"], widget["x"] + widget["width"]), range(widget["y"], widget["y"] + widget["height"])
        )
        for cell in cells:
            if cell[0] >= 24:
                mistake(f"{where} is wider than the dashboard")
            if taken.setdefault(cell, title) != title:
                mistake(f"{where} overlaps {taken[cell]!r}")
        for metric in properties.get("metrics", []):
            namespace, name, dimension, value = metric[:4]
            check_metric(where, namespace, name, {dimension: value}, stack)
            shown.add(name)
            if dimension in ("function", "FunctionName") and value not in stack.resources:
                mistake(f"{where} refers to {value}, which does not exist")
        if widget["type"] == "log":
            groups = re.findall(r"SOURCE '([^']*)'", properties["query"])
            if not groups:
                mistake(f"{where} names no log group")
            mistake_each(set(groups) - {"LogGroup", "RedeliveryLogGroup"}, f"{where}: unknown log group {{}}")
            check_query(where, properties["query"])
    missing = METRICS - shown - (set() if "Queue" in stack.resources else {"dead"})
    mistake_each(missing, "the dashboard does not show {}")


def check_access_log(name: str, settings: dict | None, stack: Stack) -> None:
    """It exists if and only if it is enabled, is one line of JSON, and contains nothing that a stranger can choose."""
    is_wanted = stack.parameters["AccessLog"] == "Enabled"
    if is_wanted != (settings is not None) or is_wanted != ("AccessLogGroup" in stack.resources):
        return mistake(f"{name}: its access log must exist if and only if AccessLog is Enabled")
    if settings is None:
        return None
    if settings["DestinationArn"] != "AccessLogGroup.Arn":
        mistake(f"{name}: its access log goes to {settings['DestinationArn']}")
    line = settings["Format"].strip()
    if "\n" in line:
        mistake(f"{name}: the format of its access log is not one line")
    try:
        variables = set(json.loads(line).values())
    except json.JSONDecodeError as error:
        return mistake(f"{name}: the format of its access log is not JSON: {error.msg}")
    mistake_each(variables - ACCESS_LOG, f"{name}: its access log contains {{}}")
    mistake_each({"$context.requestId"} - variables, f"{name}: API Gateway requires {{}} in the format")


def check_reserved_concurrency(stack: Stack) -> None:
    """Only the function that Stripe calls has it, if it is set; `BatchesAtOnce` limits the queue's function."""
    for name, expected in (("Function", stack.parameters["ReservedConcurrency"] or None), ("RedeliveryFunction", None)):
        given = stack.resources.get(name, {}).get("Properties", {}).get("ReservedConcurrentExecutions")
        if given != expected:
            mistake(f"{name}: its reserved concurrency is {given}; expected {expected}")


def check_policy(name: str, policy: dict) -> None:
    for statement in policy["Statement"]:
        what = f"{name}, statement {statement.get('Sid', '(without Sid)')}"
        for key in ("Action", "Resource", "NotAction", "NotResource"):
            values = statement.get(key, [])
            for value in [values] if isinstance(values, str) else values:
                # X-Ray does not support resource ARNs.
                is_trace = key == "Resource" and statement.get("Sid") == "Trace"
                if (value == "*" and not is_trace) or key.startswith("Not"):
                    mistake(f"{what}: {key} {value} is too wide")
                if key == "Action" and statement["Effect"] == "Allow" and "*" in value:
                    mistake(f"{what}: it allows {value}; name the actions")


def check_queues(resources: dict[str, dict]) -> None:
    """AWS recommends six times the function's timeout plus the batch window."""
    queue, dead_letters = resources["Queue"], resources["DeadLetterQueue"]
    needed = 6 * resources["RedeliveryFunction"]["Timeout"] + resources["QueueEvents"]["MaximumBatchingWindowInSeconds"]
    if queue["VisibilityTimeout"] < needed:
        mistake(f"Queue: VisibilityTimeout is less than {needed}")
    if dead_letters["MessageRetentionPeriod"] < queue["MessageRetentionPeriod"]:
        mistake("DeadLetterQueue: its retention period is shorter than Queue's")
    if dead_letters["MaximumMessageSize"] < queue["MaximumMessageSize"]:
        mistake("DeadLetterQueue: its maximum message size is smaller than Queue's")
    if not dead_letters["RedriveAllowPolicy"]["sourceQueueArns"][0].endswith(":" + queue["QueueName"]):
        mistake("DeadLetterQueue: its RedriveAllowPolicy does not name Queue")


def check_senders(stack: Stack) -> None:
    """Only our functions and the given operator roles can send messages."""
    for queue, role in (("Queue", "FunctionRole.Arn"), ("DeadLetterQueue", "RedeliveryFunctionRole.Arn")):
        statements = stack.resources[f"{queue}Policy"]["Properties"]["PolicyDocument"]["Statement"]
        denied = [each for each in statements if each.get("Action") == "sqs:SendMessage"]
        expected = [role, *stack.parameters["OperatorRoles"]]
        if [each["Condition"] for each in denied] != [{"ArnNotLike": {"aws:PrincipalArn": expected}}]:
            mistake(f"{queue}Policy does not deny sqs:SendMessage to all but {expected}: {denied}")
        if any(each["Effect"] != "Deny" or each["Principal"] != "*" for each in statements):
            mistake(f"{queue}Policy allows something, or denies it to some only")


# Checks that do not depend on parameters.


@functools.cache
def names_in(path: str) -> set[str]:
    """String literals and struct fields in a Rust file, without those of its tests."""
    code = (ROOT / path).read_text().split("#[cfg(test)]\nmod tests")[0]
    fields = re.findall(r"^    (?:pub )?([a-z_]+): ", code, re.MULTILINE)
    return set(re.findall(r'"([A-Za-z_0-9]+)"', code)) | set(fields)


def names_in_log_line() -> set[str]:
    """Each outcome is also a metric."""
    return names_in("src/record.rs") | names_in("src/metrics.rs") | names_in("src/outcome.rs")


def check_query(where: str, query: str) -> None:
    """The fields in a query of CloudWatch Logs Insights must belong to the log line or to Lambda."""
    check_codes(where, query)
    query = re.sub(r"""'[^']*'|"[^"]*"|/[^/]*/""", "", query)
    aliases = set(re.findall(r"\bas (\w+)", query))
    words = set(re.findall(r"(?<![\w@])@?[a-z]\w*", query))
    for word in words - names_in_log_line() - INSIGHTS - aliases:
        mistake(f"{where}: its query uses {word}, which is not a field of the log line")


@functools.cache
def codes() -> set[str]:
    """The codes in docs/codes.md, which src/code.rs compares with the code."""
    return set(re.findall(r"^\| `([a-z0-9_]+)`", (ROOT / "docs/codes.md").read_text(), re.MULTILINE))


def check_codes(where: str, text: str) -> None:
    """Checks codes in queries and command lines. Commands also accept `unknown`."""
    compared = re.findall(r"""\bcode *!?= *['"]([^'"]*)['"]""", text)
    for values in re.findall(r"\bcode (?:not )?in \[([^]]*)\]", text):
        compared += re.findall(r"""['"]([^'"]*)['"]""", values)
    mistake_each(set(compared) - codes(), f"{where} uses the code {{}}, which is not in docs/codes.md")
    chosen = set(re.findall(r"--code[ =](\S+)", text)) - {"unknown"}
    mistake_each(chosen - codes(), f"{where} uses the code {{}}, which is not in docs/codes.md")


def check_names(where: str, text: str) -> None:
    """Names in backticks with an underscore must be a code, a setting or a field of the log line."""
    check_codes(where, text)
    known = codes() | names_in_log_line() | names_in("src/settings.rs") | OTHER_NAMES
    names = set(re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", text))
    mistake_each(names - known, f"{where} uses the unknown name `{{}}`")


def check_tables_of_codes(where: str, text: str) -> None:
    """Every name in a table's column `code` must be a code."""
    column = None
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            column = None
        elif column is None:
            column = cells.index("code") if "code" in cells else -1
        elif column >= 0:
            named = set(re.findall(r"`([^`]*)`", cells[column])) - {"unknown"}
            mistake_each(named - codes(), f"{where} has the code {{}} in a table, which is not in docs/codes.md")


def check_variables(resources: dict) -> None:
    """Each function must declare every variable that it reads, so that `sam local invoke --env-vars` can set it."""
    in_code = {name for name in names_in("src/environment.rs") if re.fullmatch(r"[A-Z][A-Z_]+", name)}
    in_code -= NOT_OF_THE_TEMPLATE
    given = {}
    for function, others in NOT_OF_THE_FUNCTION.items():
        variables = resources[function]["Properties"]["Environment"]["Variables"]
        # The tests measure the memory of both functions with this value.
        if variables.get(ALLOCATOR) not in (ROOT / "tests/it/harness/lambda.rs").read_text().split('"'):
            mistake(f"{function}: {ALLOCATOR} differs from tests/it/harness/lambda.rs")
        given[function] = set(variables) - {ALLOCATOR}
        mistake_each(given[function] - in_code, f"{function} declares {{}}, which src/environment.rs does not read")
        mistake_each(given[function] & others, f"{function} declares {{}}, which it does not read")
        mistake_each(in_code - others - given[function], f"{function} does not declare {{}}")
    local = json.loads((ROOT / "events/env.json").read_text())
    for function, variables in local.items():
        known = set.union(*given.values()) if function == "Parameters" else given.get(function, set())
        mistake_each(set(variables) - known, f"events/env.json sets {{}} for {function}, which does not declare it")


def check_patterns(parameters: dict) -> None:
    """The patterns accept exactly the valid values."""
    concurrency = {"": True, "1": True, "200": True, "0": False, "-1": False, "1.5": False, "a": False}
    # Keys are sent there.
    url = {"": True, "https://a.example/b": True, "http://a.example/b": False, "a.example": False, " https://a": False}
    urls = {name: url for name in ("AmplitudeUrl", "AmplitudeBatchUrl", "StripeApiUrl")}
    for name, values in {"ReservedConcurrency": concurrency, **urls}.items():
        for value, is_valid in values.items():
            if bool(re.fullmatch(parameters[name]["AllowedPattern"], value)) != is_valid:
                mistake(f"{name}: {value!r} is {'rejected' if is_valid else 'accepted'}")


def check_runbook(resources: dict) -> None:
    """Every alarm names a section of the runbook, and every section about an alarm is named by one."""
    path = "docs/operations.md"
    sections, of_alarms, links = set(), set(), set()
    chapter, in_code = "", False
    text = (ROOT / path).read_text()
    for query in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
        check_query(f"{path}, {query.strip().splitlines()[0]!r}", query)
    check_names(path, text)
    check_tables_of_codes(path, text)
    mistake_each({metric for metric in METRICS if f"`{metric}`" not in text}, f"{path} does not explain the metric {{}}")
    for line in text.splitlines():
        in_code ^= line.lstrip().startswith("```")
        if not in_code and (heading := re.match(r"(#+) (.*)", line)):
            anchor = re.sub(r"[^a-z0-9 _-]", "", heading[2].lower()).replace(" ", "-")
            if anchor in sections:
                mistake(f"{path} has two sections {anchor}")
            sections.add(anchor)
            if heading[1] == "##":
                chapter = heading[2]
            elif chapter == "Alarms":
                of_alarms.add(anchor)
        if not in_code:
            links |= set(re.findall(r"\]\(#([^)]*)\)", line))
    mistake_each(links - sections, f"{path} links to the section {{}}, which does not exist")
    for name, resource in resources.items():
        if resource["Type"] != "AWS::CloudWatch::Alarm":
            continue
        description = resource["Properties"]["AlarmDescription"]
        anchors = re.findall(rf"{re.escape(path)}#([a-z0-9-]+)", description)
        if len(anchors) != 1:
            mistake(f"{name}: its description must name exactly one section of {path}")
        mistake_each(set(anchors) - sections, f"{name}: {path} has no section {{}}")
        of_alarms -= set(anchors)
        if len(description) > 1024:
            mistake(f"{name}: its description is longer than CloudWatch allows")
    mistake_each(of_alarms, f"{path}: no alarm names the section {{}}")


if __name__ == "__main__":
    sys.exit(main())
