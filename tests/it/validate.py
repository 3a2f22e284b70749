"""Validates the JSON lines on standard input against a JSON schema, for metrics.rs.

validate.py SCHEMA    prints the number of lines if all of them are valid
"""

import json
import sys

import jsonschema

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
lines = [json.loads(line) for line in sys.stdin]
for line in lines:
    validator.validate(line)
print(len(lines))
