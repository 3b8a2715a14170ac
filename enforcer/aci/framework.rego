# The framework: the fixed rules that ACI policies delegate to.
#
# A policy says `mount_device := data.framework.mount_device` and supplies lists (containers, external_processes,
# fragments, platform_rules, ...) and flags; the rules below turn them into decisions. This text is compiled into the agent, so the launch
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

get_properties := {"allowed": true} if flag(untyped(data.policy.allow_properties_access))

default dump_stacks := {"allowed": false}

dump_stacks := {"allowed": true} if flag(untyped(data.policy.allow_dump_stacks))

default runtime_logging := {"allowed": false}

runtime_logging := {"allowed": true} if flag(untyped(data.policy.allow_runtime_logging))

default host_network := {"allowed": false}

host_network := {"allowed": true} if {
	flag(untyped(data.policy.allow_host_network))
	not older("0.5.0")
}

default log_provider := {"allowed": false}
