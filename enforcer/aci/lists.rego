# What the policy is: its versions, flags and lists, completed with the defaults of its time.
package framework

import rego.v1

# ---------------------------------------------------------------- versions

# untyped(x) is x without what the compiler knows of its type: a policy with an odd list has to load and be refused where it is
# used, not fail to compile because of a line in this file.
untyped(x) := x

policy_framework_version := untyped(data.policy.framework_version)

policy_framework_version := untyped(data.policy.framework_svn) if not data.policy.framework_version

default framework_version_ok := false

framework_version_ok if semver.compare(policy_framework_version, version) <= 0

# older(v): the policy was written for a framework before v, so what v introduced gets its default.
older(v) if semver.compare(policy_framework_version, v) < 0

# ---------------------------------------------------------------- flags

# Undefined is false. A policy that is ahead of this framework gets nothing: what its flags mean is not known here.
flag(value) if {
	framework_version_ok
	value == true
}

default allow_environment_variable_dropping := false

allow_environment_variable_dropping if flag(untyped(data.policy.allow_environment_variable_dropping))

default allow_capability_dropping := false

allow_capability_dropping if {
	flag(untyped(data.policy.allow_capability_dropping))
	not older("0.2.2")
}

default allow_unencrypted_scratch := false

allow_unencrypted_scratch if flag(untyped(data.policy.allow_unencrypted_scratch))

# ---------------------------------------------------------------- lists

# Container definitions as this framework understands them. A policy older than the framework has its containers rebuilt
# field by field: a field that its version did not have gets the default of that time, a field unknown here vanishes, and a
# container without one of the fields of its time is not a container at all.
container_fields := {
	"command": "0.1.0",
	"env_rules": "0.1.0",
	"layers": "0.1.0",
	"mounts": "0.1.0",
	"exec_processes": "0.1.0",
	"signals": "0.1.0",
	"allow_elevated": "0.1.0",
	"working_dir": "0.1.0",
	"allow_stdio_access": "0.1.0",
	"no_new_privileges": "0.2.0",
	"user": "0.2.1",
	"capabilities": "0.2.2",
	"seccomp_profile_sha256": "0.2.3",
}

field_defaults := {
	"no_new_privileges": false,
	"user": {
		"user_idname": {"pattern": "", "strategy": "any"},
		"group_idnames": [{"pattern": "", "strategy": "any"}],
		"umask": "0022",
	},
	"capabilities": null,
	"seccomp_profile_sha256": "",
}

# A policy or fragment has its containers rebuilt for its own framework version v.
required_fields(v) := {name |
	some name, since in container_fields
	semver.compare(v, since) >= 0
}

completed(containers, v) := [rebuilt |
	required := required_fields(v)
	added := object.filter(field_defaults, object.keys(field_defaults) - required)
	some container in containers
	required - object.keys(container) == set()
	rebuilt := object.union_n([
		added,
		object.filter(container, required | {"id", "name"}),
		{"signals": signals_of(container, v)},
	])
]

# Before 0.4.1 the agent itself stopped containers with SIGKILL and SIGTERM whatever the policy said.
signals_of(container, v) := array.concat(container.signals, [signal |
	some signal in [9, 15]
	not signal in container.signals
]) if {
	semver.compare(v, "0.4.1") < 0
}

signals_of(container, v) := container.signals if semver.compare(v, "0.4.1") >= 0

default policy_containers := []

policy_containers := untyped(data.policy.containers) if {
	framework_version_ok
	not older(version)
} else := completed(untyped(data.policy.containers), policy_framework_version) if framework_version_ok

default policy_platform_rules := []

policy_platform_rules := untyped(data.policy.platform_rules) if {
	framework_version_ok
	not older("0.5.0")
}

# Every container the policy and its fragments allow. One platform rule is chosen whole: its environment and mounts are
# appended together. Without fragments and platform rules the policy's list is used as it is, which is the common case.
candidate_containers := policy_containers if {
	not fragments_loaded
	count(policy_platform_rules) == 0
} else := all_containers if {
	count(candidate_platform_rules) == 0
} else := [variant |
	some container in all_containers
	some rule in candidate_platform_rules
	variant := object.union(container, {
		"env_rules": array.concat(container.env_rules, object.get(rule, "env_rules", [])),
		"mounts": array.concat(container.mounts, object.get(rule, "mounts", [])),
	})
]

all_containers := array.concat(policy_containers, loaded("containers"))

candidate_platform_rules := array.concat(policy_platform_rules, loaded("platform_rules"))

default policy_external_processes := []

policy_external_processes := untyped(data.policy.external_processes) if framework_version_ok

candidate_external_processes := policy_external_processes if {
	not fragments_loaded
} else := array.concat(policy_external_processes, loaded("external_processes"))

# ---------------------------------------------------------------- the api table, for policies that ask

enforcement_point_info := object.union(
	{"unknown": false, "invalid": false, "version_missing": false},
	object.union(point, {"available": point_available(point)}),
) if {
	point := data.api.enforcement_points[input.name]
}

enforcement_point_info := {"unknown": true, "available": false} if not data.api.enforcement_points[input.name]

default policy_api_version := null

policy_api_version := untyped(data.policy.api_version)

policy_api_version := untyped(data.policy.api_svn) if not data.policy.api_version

point_available(point) := true if semver.compare(point.introducedVersion, policy_api_version) <= 0

else := false
