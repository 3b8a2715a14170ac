package policy

api_version := "0.12.0"
framework_version := "0.5.0"

containers := [
	{"allow_elevated": false, "allow_stdio_access": true, "capabilities": {"ambient": [], "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": [], "permitted": ["CAP_KILL"]}, "command": ["/bin/web", "-p", "80"], "env_rules": [{"pattern": "MODE=fast", "required": true, "strategy": "string"}, {"pattern": "(?:NONCE=[0-9a-f]{4})", "required": false, "strategy": "re2"}, {"name": "SEED", "name_strategy": "string", "required": false, "value": "[0-9]+", "value_strategy": "re2"}], "exec_processes": [{"command": ["/bin/check", "-v"], "signals": [9]}], "id": "web", "layers": ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"], "mounts": [{"destination": "/data", "options": ["rbind", "rshared", "ro"], "source": "sandbox:///data/.+", "type": "bind"}], "name": "web", "no_new_privileges": true, "seccomp_profile_sha256": "", "signals": [9, 15], "user": {"group_idnames": [{"pattern": "33", "strategy": "id"}], "umask": "0022", "user_idname": {"pattern": "33", "strategy": "id"}}, "working_dir": "/srv"},
	{"allow_elevated": false, "allow_stdio_access": false, "capabilities": {"ambient": [], "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": [], "permitted": ["CAP_KILL"]}, "command": ["/bin/web", "-p", "80"], "env_rules": [{"pattern": "MODE=fast", "required": true, "strategy": "string"}, {"pattern": "(?:NONCE=[0-9a-f]{4})", "required": false, "strategy": "re2"}, {"name": "SEED", "name_strategy": "string", "required": false, "value": "[0-9]+", "value_strategy": "re2"}], "exec_processes": [{"command": ["/bin/check", "-v"], "signals": [9]}], "id": "web2", "layers": ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"], "mounts": [{"destination": "/data", "options": ["rbind", "rshared", "ro"], "source": "sandbox:///data/.+", "type": "bind"}], "name": "web2", "no_new_privileges": true, "seccomp_profile_sha256": "", "signals": [9, 15], "user": {"group_idnames": [{"pattern": "33", "strategy": "id"}], "umask": "0022", "user_idname": {"pattern": "33", "strategy": "id"}}, "working_dir": "/srv"}
]

allow_properties_access := true

mount_device := data.framework.mount_device
mount_overlay := data.framework.mount_overlay
create_container := data.framework.create_container
unmount_device := data.framework.unmount_device
exec_in_container := data.framework.exec_in_container
exec_external := data.framework.exec_external
shutdown_container := data.framework.shutdown_container
signal_container_process := data.framework.signal_container_process
plan9_mount := data.framework.plan9_mount
plan9_unmount := data.framework.plan9_unmount
unmount_overlay := data.framework.unmount_overlay
get_properties := data.framework.get_properties
dump_stacks := data.framework.dump_stacks
runtime_logging := data.framework.runtime_logging
load_fragment := data.framework.load_fragment
scratch_mount := data.framework.scratch_mount
scratch_unmount := data.framework.scratch_unmount
rw_mount_device := data.framework.rw_mount_device
rw_unmount_device := data.framework.rw_unmount_device
load_transparency_trust_list := data.framework.load_transparency_trust_list
host_network := data.framework.host_network

reason := {"errors": data.framework.errors}
