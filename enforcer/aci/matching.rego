# How one field of a request is held against one field of a container definition.
package framework

import rego.v1

# ---------------------------------------------------------------- matching

# RE2 patterns hold for the whole value. The group keeps an alternative inside the anchors: `a|b` means `a` or `b`, not
# "starts with a, or ends with b". The pattern has to be valid by itself, or `a)|(b` would step out of the group.
re2(pattern, value) if {
	regex.match(concat("", ["^(?:", pattern, ")$"]), value)
	regex.is_valid(pattern)
}

matches_strategy("string", pattern, value) if pattern == value

matches_strategy("re2", pattern, value) if re2(pattern, value)

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

# Only a privileged container inherits any.
default_caps("inheritable", false) := []

default_caps("ambient", _) := []

default_caps(key, true) := data.defaultPrivilegedCapabilities if key in ["bounding", "effective", "inheritable", "permitted"]

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
