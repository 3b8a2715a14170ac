# The framework: the fixed rules that ACI policies delegate to.
#
# A policy says `mount_device := data.framework.mount_device` and supplies lists (containers, external_processes,
# platform_rules) and flags; the rules below turn them into decisions. This text is compiled into the agent, so the launch
# measurement covers it, and a policy's digest covers the policy's own text.
#
# Conventions
# - every point is an object {"allowed": bool, "metadata": [operations], ...outputs} with a default that refuses;
# - state is never read from anywhere but data.metadata, and never changed but by the metadata operations of an allowed answer;
# - `errors` is evaluated in a second query, with the same input plus {"rule": "<point>"}, only after a refusal.
#   Its strings are a contract: tools and people match on them.
package framework

import rego.v1

version := "0.5.0"

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

allow_environment_variable_dropping if flag(data.policy.allow_environment_variable_dropping)

default allow_capability_dropping := false

allow_capability_dropping if {
	flag(data.policy.allow_capability_dropping)
	not older("0.2.2")
}

default allow_unencrypted_scratch := false

allow_unencrypted_scratch if flag(data.policy.allow_unencrypted_scratch)

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

required_fields contains name if {
	some name, since in container_fields
	not older(since)
}

policy_containers := untyped(data.policy.containers) if {
	framework_version_ok
	not older(version)
}

policy_containers := [rebuilt |
	some container in untyped(data.policy.containers)
	required_fields - object.keys(container) == set()
	rebuilt := rebuild(container)
] if {
	framework_version_ok
	older(version)
}

rebuild(container) := object.union_n([
	object.filter(field_defaults, object.keys(field_defaults) - required_fields),
	object.filter(container, required_fields | {"id", "name"}),
	{"signals": signals_of(container)},
])

# Before 0.4.1 the agent itself stopped containers with SIGKILL and SIGTERM whatever the policy said.
signals_of(container) := array.concat(container.signals, [signal |
	some signal in [9, 15]
	not signal in container.signals
]) if {
	older("0.4.1")
}

signals_of(container) := container.signals if not older("0.4.1")

default policy_platform_rules := []

policy_platform_rules := untyped(data.policy.platform_rules) if {
	framework_version_ok
	not older("0.5.0")
}

# Every container the policy allows. One platform rule is chosen whole: its environment and mounts are appended together.
candidate_containers := policy_containers if count(policy_platform_rules) == 0

candidate_containers := [variant |
	some container in policy_containers
	some rule in policy_platform_rules
	variant := object.union(container, {
		"env_rules": array.concat(container.env_rules, object.get(rule, "env_rules", [])),
		"mounts": array.concat(container.mounts, object.get(rule, "mounts", [])),
	})
] if {
	count(policy_platform_rules) > 0
}

default candidate_external_processes := []

candidate_external_processes := untyped(data.policy.external_processes) if framework_version_ok

# ---------------------------------------------------------------- matching

# RE2 patterns hold for the whole value. The group keeps an alternative inside the anchors: `a|b` means `a` or `b`, not
# "starts with a, or ends with b". The pattern has to be valid by itself, or `a)|(b` would step out of the group.
re2(pattern, value) if {
	regex.match(concat("", ["^(?:", pattern, ")$"]), value)
	regex.is_valid(pattern)
}

matches_strategy("string", pattern, value) if pattern == value

matches_strategy("re2", pattern, value) if re2(pattern, value)

# ---------------------------------------------------------------- devices

default device_mounted := false

device_mounted if data.metadata.devices[input.target]

device_mounted if data.metadata.rw_devices[input.target]

default mount_path_ok := false

mount_path_ok if re2(input.mountPathRegex, input.target)

default device_hash_ok := false

device_hash_ok if {
	some container in candidate_containers
	input.deviceHash in container.layers
}

default mount_device := {"allowed": false}

mount_device := {
	"allowed": true,
	"metadata": [{"name": "devices", "action": "add", "key": input.target, "value": input.deviceHash}],
} if {
	not device_mounted
	mount_path_ok
	device_hash_ok
}

default unmount_device := {"allowed": false}

unmount_device := {
	"allowed": true,
	"metadata": [{"name": "devices", "action": "remove", "key": input.unmountTarget}],
} if {
	framework_version_ok
	data.metadata.devices[input.unmountTarget]
}

rw_filesystems := {"ext4", "xfs"}

default rw_encryption_ok := false

rw_encryption_ok if input.encrypted == true

rw_encryption_ok if allow_unencrypted_scratch

default rw_mount_device := {"allowed": false}

rw_mount_device := {
	"allowed": true,
	"metadata": [{"name": "rw_devices", "action": "add", "key": input.target, "value": true}],
} if {
	framework_version_ok
	not device_mounted
	rw_encryption_ok
	input.ensureFilesystem == true
	input.filesystem in rw_filesystems
	mount_path_ok
}

default rw_unmount_device := {"allowed": false}

rw_unmount_device := {
	"allowed": true,
	"metadata": [{"name": "rw_devices", "action": "remove", "key": input.unmountTarget}],
} if {
	framework_version_ok
	data.metadata.rw_devices[input.unmountTarget]
}

# A block device handed to a container is outside what a policy can describe.
mount_blockdev := {"allowed": false}

unmount_blockdev := {"allowed": false}

# ---------------------------------------------------------------- scratch

default scratch_mounted := false

scratch_mounted if data.metadata.scratch_mounts[input.target]

default scratch_mount := {"allowed": false}

scratch_mount := {
	"allowed": true,
	"metadata": [{
		"name": "scratch_mounts",
		"action": "add",
		"key": input.target,
		"value": {"encrypted": input.encrypted},
	}],
} if {
	framework_version_ok
	not scratch_mounted
	rw_encryption_ok
}

default scratch_unmount := {"allowed": false}

scratch_unmount := {
	"allowed": true,
	"metadata": [{"name": "scratch_mounts", "action": "remove", "key": input.unmountTarget}],
} if {
	framework_version_ok
	data.metadata.scratch_mounts[input.unmountTarget]
}

# ---------------------------------------------------------------- overlays

default overlay_mounted := false

overlay_mounted if data.metadata.overlayTargets[input.target]

default overlay_exists := false

overlay_exists if data.metadata.matches[input.containerID]

# The policy lists layers base first, the request top first. A path that is no recorded device breaks the comparison.
overlay_layers := [hash |
	some path in array.reverse(input.layerPaths)
	hash := data.metadata.devices[path]
]

overlay_containers := [container |
	count(overlay_layers) == count(input.layerPaths)
	some container in candidate_containers
	container.layers == overlay_layers
]

default mount_overlay := {"allowed": false}

mount_overlay := {
	"allowed": true,
	"metadata": [
		{"name": "matches", "action": "add", "key": input.containerID, "value": overlay_containers},
		{"name": "overlayTargets", "action": "add", "key": input.target, "value": true},
	],
} if {
	not overlay_exists
	not overlay_mounted
	count(overlay_containers) > 0
}

# The matches entry stays: a container id is good for one container only.
default unmount_overlay := {"allowed": false}

unmount_overlay := {
	"allowed": true,
	"metadata": [{"name": "overlayTargets", "action": "remove", "key": input.unmountTarget}],
} if {
	framework_version_ok
	data.metadata.overlayTargets[input.unmountTarget]
}

mount_cims := {"allowed": false}

registry_changes := {"allowed": false}

# ---------------------------------------------------------------- containers: single fields

default possible_containers := []

possible_containers := data.metadata.matches[input.containerID]

default container_started := false

container_started if data.metadata.started[input.containerID]

default container_privileged := false

container_privileged if data.metadata.started[input.containerID].privileged == true

command_ok(container) if container.command == input.argList

working_dir_ok(container) if container.working_dir == input.workingDir

# A container that must not gain privileges cannot ask to; one that may, need not.
no_new_privileges_ok(container) if {
	container.no_new_privileges == true
	input.noNewPrivileges == true
}

no_new_privileges_ok(container) if {
	container.no_new_privileges == false
	is_boolean(input.noNewPrivileges)
}

idname_ok("any", _, _)

idname_ok("id", pattern, subject) if pattern == subject.id

idname_ok("name", pattern, subject) if pattern == subject.name

idname_ok("re2", pattern, subject) if re2(pattern, subject.name)

user_ok(container) if {
	rule := container.user
	rule.umask == input.umask
	idname_ok(rule.user_idname.strategy, rule.user_idname.pattern, input.user)
	every group in input.groups {
		some allowed in rule.group_idnames
		idname_ok(allowed.strategy, allowed.pattern, group)
	}
}

privileged_ok(container) if {
	input.privileged == false
	is_boolean(container.allow_elevated)
}

privileged_ok(container) if {
	input.privileged == true
	container.allow_elevated == true
}

seccomp_ok(container) if container.seccomp_profile_sha256 == input.seccompProfileSHA256

devices_ok if count(input.devices) == 0

# ---------------------------------------------------------------- mounts

mount_source_ok(constraint, mount, _) if {
	startswith(constraint.source, data.sandboxPrefix)
	path := trim_prefix(constraint.source, data.sandboxPrefix)
	re2(concat("", [input.sandboxDir, path]), mount.source)
}

mount_source_ok(constraint, mount, _) if {
	startswith(constraint.source, data.hugePagesPrefix)
	path := trim_prefix(constraint.source, data.hugePagesPrefix)
	re2(concat("", [input.hugePagesDir, path]), mount.source)
}

mount_source_ok(constraint, mount, containerID) if {
	startswith(constraint.source, data.plan9Prefix)
	data.metadata.p9mounts[mount.source] == containerID
}

mount_source_ok(constraint, mount, _) if {
	not strings.any_prefix_match(constraint.source, [data.sandboxPrefix, data.hugePagesPrefix, data.plan9Prefix])
	constraint.source == mount.source
}

mount_constraint_ok(constraint, mount) if {
	mount.type == constraint.type
	mount.destination != ""
	mount.destination == constraint.destination
	count(mount.options) == count(constraint.options)
	{option | some option in mount.options} == {option | some option in constraint.options}
	mount_source_ok(constraint, mount, input.containerID)
}

# containerd 2.0 began to mount /sys read-write for the pause container, which older policies do not list. The agent
# answers with its own read-only view, so accepting the request gives the container nothing.
sandbox_sysfs := {
	"type": "sysfs",
	"source": "sysfs",
	"destination": "/sys",
	"options": ["nosuid", "noexec", "nodev", "rw"],
}

mount_ok(container, mount) if {
	some constraint in container.mounts
	mount_constraint_ok(constraint, mount)
}

mount_ok(_, mount) if {
	some constraint in data.defaultMounts
	mount_constraint_ok(constraint, mount)
}

mount_ok(container, mount) if {
	container.allow_elevated == true
	some constraint in data.privilegedMounts
	mount_constraint_ok(constraint, mount)
}

mount_ok(_, mount) if {
	input.isSandboxContainer == true
	mount_constraint_ok(sandbox_sysfs, mount)
}

mounts_ok(container) if {
	every mount in input.mounts {
		mount_ok(container, mount)
	}
}

# ---------------------------------------------------------------- environment

env_rule_ok(rule, env) if matches_strategy(rule.strategy, rule.pattern, env)

env_rule_ok(rule, env) if {
	at := indexof(env, "=")
	at >= 0
	matches_strategy(rule.name_strategy, rule.name, substring(env, 0, at))
	matches_strategy(rule.value_strategy, rule.value, substring(env, at + 1, -1))
}

env_ok(rules, env) if {
	some rule in rules
	env_rule_ok(rule, env)
}

env_required_ok(rules, envs) if {
	every rule in rules {
		env_rule_satisfied(rule, envs)
	}
}

env_rule_satisfied(rule, _) if not rule.required

env_rule_satisfied(rule, envs) if {
	some env in envs
	env_rule_ok(rule, env)
}

envs_ok(rules, envs) if {
	env_required_ok(rules, envs)
	every env in envs {
		env_ok(rules, env)
	}
}

# kept_envs: what remains of the request's environment. With dropping, each candidate keeps what its rules know; the
# largest result wins, and if two candidates keep different sets of that size nobody can say which was meant.
kept_envs(_) := input.envList if not allow_environment_variable_dropping

kept_envs(containers) := kept if {
	allow_environment_variable_dropping
	sets := {keep |
		some container in containers
		keep := {env | some env in input.envList; env_ok(container.env_rules, env)}
	}
	largest := max({count(keep) | some keep in sets})
	best := [keep | some keep in sets; count(keep) == largest]
	count(best) == 1
	kept := [env | some env in input.envList; env in best[0]]
}

# ---------------------------------------------------------------- capabilities

caps_keys := ["bounding", "effective", "inheritable", "permitted", "ambient"]

# A container without capabilities of its own gets the runtime's defaults.
caps_of(container, _) := container.capabilities if container.capabilities != null

caps_of(container, privileged) := {key: caps |
	some key in caps_keys
	caps := default_caps(key, use_privileged_caps(container, privileged))
} if {
	container.capabilities == null
}

use_privileged_caps(container, privileged) := true if {
	privileged == true
	container.allow_elevated == true
} else := false

default_caps("inheritable", _) := []

default_caps("ambient", _) := []

default_caps(key, true) := data.defaultPrivilegedCapabilities if key in ["bounding", "effective", "permitted"]

default_caps(key, false) := data.defaultUnprivilegedCapabilities if key in ["bounding", "effective", "permitted"]

same_set(a, b) if {x | some x in a} == {x | some x in b}

caps_ok(container, privileged, caps) if {
	allowed := caps_of(container, privileged)
	every key in caps_keys {
		same_set(allowed[key], caps[key])
	}
}

caps_total(caps) := sum([count(caps[key]) | some key in caps_keys])

kept_caps(_, _) := input.capabilities if not allow_capability_dropping

kept_caps(containers, privileged) := kept if {
	allow_capability_dropping
	results := {keep |
		some container in containers
		allowed := caps_of(container, privileged)
		keep := {key: {cap | some cap in input.capabilities[key]; cap in allowed[key]} | some key in caps_keys}
	}
	largest := max({caps_total(keep) | some keep in results})
	best := [keep | some keep in results; caps_total(keep) == largest]
	count(best) == 1
	kept := {key: sort(best[0][key]) | some key in caps_keys}
}

# ---------------------------------------------------------------- create_container

# What the request's fields leave of the candidates before environment and capabilities are looked at.
create_initial := [container |
	some container in possible_containers
	no_new_privileges_ok(container)
	user_ok(container)
	privileged_ok(container)
	working_dir_ok(container)
	command_ok(container)
	seccomp_ok(container)
	mounts_ok(container)
]

create_env := [container |
	some container in create_initial
	envs_ok(container.env_rules, kept_envs(create_initial))
]

create_final := [container |
	some container in create_env
	caps_ok(container, input.privileged, kept_caps(create_env, input.privileged))
]

stdio_values(list) := {entry.allow_stdio_access | some entry in list}

default create_container := {"allowed": false}

create_container := {
	"allowed": true,
	"env_list": kept_envs(create_initial),
	"caps_list": kept_caps(create_env, input.privileged),
	"allow_stdio_access": stdio,
	"metadata": [
		{"name": "matches", "action": "update", "key": input.containerID, "value": create_final},
		{
			"name": "started",
			"action": "add",
			"key": input.containerID,
			"value": {"privileged": input.privileged},
		},
	],
} if {
	not container_started
	devices_ok
	count(create_final) > 0
	some stdio in stdio_values(create_final)
	count(stdio_values(create_final)) == 1
}

# ---------------------------------------------------------------- exec_in_container

exec_command_ok(container) if {
	some process in container.exec_processes
	process.command == input.argList
}

exec_initial := [container |
	some container in possible_containers
	working_dir_ok(container)
	no_new_privileges_ok(container)
	user_ok(container)
	exec_command_ok(container)
]

exec_env := [container |
	some container in exec_initial
	envs_ok(container.env_rules, kept_envs(exec_initial))
]

exec_final := [container |
	some container in exec_env
	caps_ok(container, container_privileged, kept_caps(exec_env, container_privileged))
]

default exec_in_container := {"allowed": false}

exec_in_container := {
	"allowed": true,
	"env_list": kept_envs(exec_initial),
	"caps_list": kept_caps(exec_env, container_privileged),
	"metadata": [{"name": "matches", "action": "update", "key": input.containerID, "value": exec_final}],
} if {
	framework_version_ok
	container_started
	count(exec_final) > 0
}

# ---------------------------------------------------------------- exec_external

external_initial := [process |
	some process in candidate_external_processes
	process.command == input.argList
	process.working_dir == input.workingDir
]

external_final := [process |
	some process in external_initial
	envs_ok(process.env_rules, kept_envs(external_initial))
]

default exec_external := {"allowed": false}

exec_external := {
	"allowed": true,
	"env_list": kept_envs(external_initial),
	"allow_stdio_access": stdio,
} if {
	count(external_final) > 0
	some stdio in stdio_values(external_final)
	count(stdio_values(external_final)) == 1
}

# ---------------------------------------------------------------- shutdown, signals

default shutdown_container := {"allowed": false}

shutdown_container := {
	"allowed": true,
	"metadata": [{"name": "matches", "action": "remove", "key": input.containerID}],
} if {
	framework_version_ok
	container_started
}

signal_ok(container) if {
	input.isInitProcess == true
	input.signal in container.signals
}

signal_ok(container) if {
	input.isInitProcess == false
	some process in container.exec_processes
	process.command == input.argList
	input.signal in process.signals
}

signal_final := [container |
	some container in possible_containers
	signal_ok(container)
]

default signal_container_process := {"allowed": false}

signal_container_process := {
	"allowed": true,
	"metadata": [{"name": "matches", "action": "update", "key": input.containerID, "value": signal_final}],
} if {
	framework_version_ok
	container_started
	count(signal_final) > 0
}

# ---------------------------------------------------------------- plan9

default plan9_mounted := false

plan9_mounted if data.metadata.p9mounts[input.target]

# The share belongs to the container whose directory it is mounted in; only an id that has an overlay is one.
plan9_owners := {id |
	some id, _ in data.metadata.matches
	startswith(input.target, concat("/", [input.rootPrefix, id, ""]))
	path := trim_prefix(input.target, concat("/", [input.rootPrefix, id]))
	re2(input.mountPathPrefix, path)
}

default plan9_mount := {"allowed": false}

plan9_mount := {
	"allowed": true,
	"metadata": [{"name": "p9mounts", "action": "add", "key": input.target, "value": owner}],
} if {
	framework_version_ok
	not plan9_mounted
	count(plan9_owners) == 1
	some owner in plan9_owners
}

default plan9_unmount := {"allowed": false}

plan9_unmount := {
	"allowed": true,
	"metadata": [{"name": "p9mounts", "action": "remove", "key": input.unmountTarget}],
} if {
	framework_version_ok
	data.metadata.p9mounts[input.unmountTarget]
}

# ---------------------------------------------------------------- whole-machine flags

default get_properties := {"allowed": false}

get_properties := {"allowed": true} if flag(data.policy.allow_properties_access)

default dump_stacks := {"allowed": false}

dump_stacks := {"allowed": true} if flag(data.policy.allow_dump_stacks)

default runtime_logging := {"allowed": false}

runtime_logging := {"allowed": true} if flag(data.policy.allow_runtime_logging)

default host_network := {"allowed": false}

host_network := {"allowed": true} if {
	flag(data.policy.allow_host_network)
	not older("0.5.0")
}

default log_provider := {"allowed": false}

# Fragments and trust lists are refused before they reach Rego; the rules exist so that policies which name them compile.
load_fragment := {"allowed": false, "add_module": false}

load_transparency_trust_list := {"allowed": false}

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
