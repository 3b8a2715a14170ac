package policy

import rego.v1

api_version := "0.12.0"
framework_version := "0.5.0"

names := ["one", "two"]

containers := [c | some n in names; c := {"name": n, "command": [concat("/", ["/bin", n])], "layers": []}]

external_processes := input.processes

create_container := {"allowed": true} if input.argList[0] == "/bin/one"

dump_stacks := data.framework.dump_stacks
