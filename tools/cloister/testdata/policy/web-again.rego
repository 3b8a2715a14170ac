package policy
# another order

api_version := "0.12.0"
framework_version := "0.5.0"

containers := [
	{"allow_elevated": false, "allow_stdio_access": true, "capabilities": {"ambient": [], "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": [], "permitted": ["CAP_KILL"]}, "command": ["/bin/job", "a b"], "env_rules": [], "exec_processes": [], "id": "x-job", "layers": ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"], "mounts": [], "name": "job", "no_new_privileges": true, "seccomp_profile_sha256": "", "signals": [15, 9], "user": {"group_idnames": [{"pattern": "33", "strategy": "id"}], "umask": "0022", "user_idname": {"pattern": "33", "strategy": "id"}}, "working_dir": "/srv"},
	{"allow_elevated": false, "allow_stdio_access": true, "capabilities": {"ambient": [], "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": [], "permitted": ["CAP_KILL"]}, "command": ["/bin/web", "-p", "80"], "env_rules": [{"name": "SEED", "name_strategy": "string", "required": false, "value": "[0-9]+", "value_strategy": "re2"}, {"pattern": "(?:NONCE=[0-9a-f]{4})", "required": false, "strategy": "re2"}, {"pattern": "MODE=fast", "required": true, "strategy": "string"}], "exec_processes": [{"command": ["/bin/check", "-v"], "signals": [9]}], "id": "x-web", "layers": ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"], "mounts": [{"destination": "/data", "options": ["rbind", "rshared", "ro"], "source": "sandbox:///data/.+", "type": "bind"}], "name": "web", "no_new_privileges": true, "seccomp_profile_sha256": "", "signals": [15, 9], "user": {"group_idnames": [{"pattern": "33", "strategy": "id"}], "umask": "0022", "user_idname": {"pattern": "33", "strategy": "id"}}, "working_dir": "/srv"}
]

allow_properties_access := true

host_network := data.framework.host_network
load_transparency_trust_list := data.framework.load_transparency_trust_list
rw_unmount_device := data.framework.rw_unmount_device
rw_mount_device := data.framework.rw_mount_device
scratch_unmount := data.framework.scratch_unmount
scratch_mount := data.framework.scratch_mount
load_fragment := data.framework.load_fragment
runtime_logging := data.framework.runtime_logging
dump_stacks := data.framework.dump_stacks
get_properties := data.framework.get_properties
unmount_overlay := data.framework.unmount_overlay
plan9_unmount := data.framework.plan9_unmount
plan9_mount := data.framework.plan9_mount
signal_container_process := data.framework.signal_container_process
shutdown_container := data.framework.shutdown_container
exec_external := data.framework.exec_external
exec_in_container := data.framework.exec_in_container
unmount_device := data.framework.unmount_device
create_container := data.framework.create_container
mount_overlay := data.framework.mount_overlay
mount_device := data.framework.mount_device

reason := {"errors": data.framework.errors}
