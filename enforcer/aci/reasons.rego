# Why a request was refused: the second query's answer. input.rule names the point.
package framework

import rego.v1

reason := {"errors": errors, "error_objects": error_objects}

default error_objects := []

error_objects := possible_containers if input.rule in {"create_container", "exec_in_container", "signal_container_process"}

# ---------------------------------------------------------------- versions

errors contains "framework_version is missing" if not policy_framework_version

errors contains sprintf("framework_version is ahead of the current version: %s is greater than %s", [policy_framework_version, version]) if {
	semver.compare(policy_framework_version, version) > 0
}

errors contains "framework_version is not a semantic version" if {
	policy_framework_version
	not semver.is_valid(policy_framework_version)
}

# ---------------------------------------------------------------- devices

errors contains "deviceHash not found" if {
	input.rule == "mount_device"
	not device_hash_ok
}

errors contains "device already mounted at path" if {
	input.rule in {"mount_device", "rw_mount_device"}
	device_mounted
}

errors contains "mountpoint invalid" if {
	input.rule in {"mount_device", "rw_mount_device"}
	not mount_path_ok
}

errors contains "no device at path to unmount" if {
	input.rule in {"unmount_device", "rw_unmount_device"}
	not data.metadata.devices[input.unmountTarget]
	not data.metadata.rw_devices[input.unmountTarget]
}

errors contains "received read-only unmount request, but device provided is read-write" if {
	input.rule == "unmount_device"
	data.metadata.rw_devices[input.unmountTarget]
}

errors contains "received read-write unmount request, but device provided is read-only" if {
	input.rule == "rw_unmount_device"
	data.metadata.devices[input.unmountTarget]
}

errors contains "unencrypted scratch not allowed, non-readonly mount request for SCSI disk must request encryption" if {
	input.rule == "rw_mount_device"
	not rw_encryption_ok
}

errors contains "ensureFilesystem must be set on rw device mounts" if {
	input.rule == "rw_mount_device"
	not input.ensureFilesystem == true
}

errors contains "rw device mounts uses a filesystem that is not allowed" if {
	input.rule == "rw_mount_device"
	not input.filesystem in rw_filesystems
}

errors contains "blockdev mounts are not supported" if input.rule in {"mount_blockdev", "unmount_blockdev"}

errors contains "not supported by a Linux utility VM" if input.rule in {"mount_cims", "registry_changes", "log_provider"}

# ---------------------------------------------------------------- scratch, overlays

errors contains "scratch already mounted at path" if {
	input.rule == "scratch_mount"
	scratch_mounted
}

errors contains "unencrypted scratch not allowed" if {
	input.rule == "scratch_mount"
	not rw_encryption_ok
}

errors contains "no scratch at path to unmount" if {
	input.rule == "scratch_unmount"
	not data.metadata.scratch_mounts[input.unmountTarget]
}

errors contains "overlay has already been mounted" if {
	input.rule == "mount_overlay"
	overlay_taken
}

overlay_taken if overlay_mounted

overlay_taken if overlay_exists

errors contains "no matching containers for overlay" if {
	input.rule == "mount_overlay"
	count(overlay_containers) == 0
}

errors contains "no overlay at path to unmount" if {
	input.rule == "unmount_overlay"
	not data.metadata.overlayTargets[input.unmountTarget]
}

# ---------------------------------------------------------------- containers

errors contains "container already started" if {
	input.rule == "create_container"
	container_started
}

errors contains "container not started" if {
	input.rule in {"exec_in_container", "shutdown_container", "signal_container_process"}
	not container_started
}

any_candidate(test) if {
	some container in possible_containers
	candidate_passes(test, container)
}

candidate_passes("privileged", container) if privileged_ok(container)

candidate_passes("working_dir", container) if working_dir_ok(container)

candidate_passes("no_new_privileges", container) if no_new_privileges_ok(container)

candidate_passes("user", container) if user_ok(container)

candidate_passes("seccomp", container) if seccomp_ok(container)

candidate_passes("create_command", container) if command_ok(container)

candidate_passes("exec_command", container) if exec_command_ok(container)

errors contains "privileged escalation not allowed" if {
	input.rule == "create_container"
	not any_candidate("privileged")
}

errors contains "invalid command" if {
	input.rule == "create_container"
	not any_candidate("create_command")
}

errors contains "invalid command" if {
	input.rule == "exec_in_container"
	not any_candidate("exec_command")
}

errors contains "invalid command" if {
	input.rule == "exec_external"
	not external_command_ok
}

external_command_ok if {
	some process in candidate_external_processes
	process.command == input.argList
}

errors contains "invalid working directory" if {
	input.rule in {"create_container", "exec_in_container"}
	not any_candidate("working_dir")
}

errors contains "invalid working directory" if {
	input.rule == "exec_external"
	not external_working_dir_ok
}

external_working_dir_ok if {
	some process in candidate_external_processes
	process.working_dir == input.workingDir
}

errors contains "invalid noNewPrivileges" if {
	input.rule in {"create_container", "exec_in_container"}
	not any_candidate("no_new_privileges")
}

errors contains "invalid user" if {
	input.rule in {"create_container", "exec_in_container"}
	not any_candidate("user")
}

errors contains "invalid seccomp" if {
	input.rule == "create_container"
	not any_candidate("seccomp")
}

errors contains "devices not supported" if {
	input.rule == "create_container"
	not devices_ok
}

# ---------------------------------------------------------------- environment

env_rule_lists := [container.env_rules | some container in possible_containers] if {
	input.rule in {"create_container", "exec_in_container"}
}

env_rule_lists := [process.env_rules | some process in candidate_external_processes] if input.rule == "exec_external"

env_known(env) if {
	some rules in env_rule_lists
	env_ok(rules, env)
}

# Only names are told: a value may be a secret.
env_name(env) := split(env, "=")[0]

unknown_envs := [env_name(env) | some env in input.envList; not env_known(env)]

errors contains sprintf("invalid env list: %s", [concat(",", unknown_envs)]) if {
	input.rule in {"create_container", "exec_in_container", "exec_external"}
	count(unknown_envs) > 0
}

# The candidates an environment is judged against: all else but seccomp fits.
env_candidates := [container.env_rules |
	some container in possible_containers
	no_new_privileges_ok(container)
	user_ok(container)
	privileged_ok(container)
	working_dir_ok(container)
	command_ok(container)
	mounts_ok(container)
] if {
	input.rule == "create_container"
}

env_candidates := [container.env_rules | some container in exec_initial] if input.rule == "exec_in_container"

env_candidates := [process.env_rules | some process in external_initial] if input.rule == "exec_external"

# Said of the request as it came, also where dropping would have helped: the contract's tools expect it.
errors contains "invalid env list" if {
	input.rule == "create_container"
	env_fits_none
	not only_late_reasons
}

env_fits_none if {
	count(env_candidates) > 0
	every rules in env_candidates {
		not envs_ok(rules, input.envList)
	}
}

only_late_reasons if {
	not container_started
	count(create_final) > 0
}

errors contains "missing required environment variable" if {
	env_fits_none
	some rules in env_candidates
	not env_required_ok(rules, input.envList)
}

# ---------------------------------------------------------------- mounts

mount_known(mount) if {
	some container in possible_containers
	mount_ok(container, mount)
}

unknown_mounts := [mount.destination | some mount in input.mounts; not mount_known(mount)]

errors contains sprintf("invalid mount list: %s", [concat(",", unknown_mounts)]) if {
	input.rule == "create_container"
	count(unknown_mounts) > 0
}

# ---------------------------------------------------------------- capabilities, stdio

errors contains "capabilities don't match" if {
	input.rule == "create_container"
	count(create_env) > 0
	kept := kept_caps(create_env, input.privileged)
	count([1 | some container in create_env; caps_ok(container, input.privileged, kept)]) == 0
}

errors contains "containers only distinguishable by capabilties" if {
	input.rule == "create_container"
	count(create_env) > 0
	not kept_caps(create_env, input.privileged)
}

errors contains "capabilities don't match" if {
	input.rule == "exec_in_container"
	count(exec_env) > 0
	kept := kept_caps(exec_env, container_privileged)
	count([1 | some container in exec_env; caps_ok(container, container_privileged, kept)]) == 0
}

errors contains "containers only distinguishable by capabilties" if {
	input.rule == "exec_in_container"
	count(exec_env) > 0
	not kept_caps(exec_env, container_privileged)
}

errors contains "containers only distinguishable by allow_stdio_access" if {
	input.rule == "create_container"
	count(stdio_values(create_final)) > 1
}

errors contains "external processes only distinguishable by allow_stdio_access" if {
	input.rule == "exec_external"
	count(stdio_values(external_final)) > 1
}

errors contains "target isn't allowed to receive the signal" if {
	input.rule == "signal_container_process"
	count(signal_final) == 0
}

# ---------------------------------------------------------------- plan9

errors contains "device already mounted at path" if {
	input.rule == "plan9_mount"
	plan9_mounted
}

errors contains "mountpoint invalid" if {
	input.rule == "plan9_mount"
	count(plan9_owners) != 1
}

errors contains "no device at path to unmount" if {
	input.rule == "plan9_unmount"
	not data.metadata.p9mounts[input.unmountTarget]
}
