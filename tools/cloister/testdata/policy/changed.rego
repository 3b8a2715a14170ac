package policy

api_version := "0.10.0"
framework_version := "0.4.1"

containers := [
	{"allow_elevated": true, "allow_stdio_access": true, "capabilities": null, "command": ["/bin/web", "-p", "81"], "env_rules": [{"pattern": "MODE=fast", "required": false, "strategy": "string"}, {"pattern": "(?:NONCE=[0-9a-f]{4})", "required": false, "strategy": "re2"}, {"name": "SEED", "name_strategy": "string", "required": false, "value": "[0-9]+", "value_strategy": "re2"}], "exec_processes": [{"command": ["/bin/check", "-v"], "signals": [9]}], "id": "web", "layers": ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"], "mounts": [{"destination": "/data", "options": ["rbind", "rshared", "ro"], "source": "sandbox:///data/.+", "type": "bind"}, {"destination": "/etc/x", "options": ["rbind"], "source": "/x", "type": "bind"}], "name": "web", "no_new_privileges": true, "seccomp_profile_sha256": "", "signals": [15], "user": {"group_idnames": [{"pattern": "33", "strategy": "id"}], "umask": "0022", "user_idname": {"pattern": "33", "strategy": "id"}}, "working_dir": "/srv"},
	{"allow_elevated": false, "allow_stdio_access": true, "capabilities": {"ambient": [], "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": [], "permitted": ["CAP_KILL"]}, "command": ["/bin/other"], "env_rules": [{"pattern": "MODE=fast", "required": true, "strategy": "string"}, {"pattern": "(?:NONCE=[0-9a-f]{4})", "required": false, "strategy": "re2"}, {"name": "SEED", "name_strategy": "string", "required": false, "value": "[0-9]+", "value_strategy": "re2"}], "exec_processes": [{"command": ["/bin/check", "-v"], "signals": [9]}], "id": "other", "layers": ["eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"], "mounts": [{"destination": "/data", "options": ["rbind", "rshared", "ro"], "source": "sandbox:///data/.+", "type": "bind"}], "name": "other", "no_new_privileges": true, "seccomp_profile_sha256": "", "signals": [9, 15], "user": {"group_idnames": [{"pattern": "", "strategy": "any"}], "umask": "0022", "user_idname": {"pattern": "", "strategy": "any"}}, "working_dir": "/srv"}
]

fragments := [{"feed": "f", "includes": ["containers"], "issuer": "did:x509:0:sha256:x::eku:1.2", "minimum_svn": "2"}]
external_processes := [{"allow_stdio_access": true, "command": ["/bin/dmesg"], "env_rules": [{"pattern": "PATH=/bin", "required": true, "strategy": "string"}], "working_dir": "/"}]
runtime_logging := {"allowed": true}
mine := 3
allow_dump_stacks := true

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
load_fragment := data.framework.load_fragment
scratch_mount := data.framework.scratch_mount
scratch_unmount := data.framework.scratch_unmount
rw_mount_device := data.framework.rw_mount_device
rw_unmount_device := data.framework.rw_unmount_device
load_transparency_trust_list := data.framework.load_transparency_trust_list

reason := {"errors": data.framework.errors}
