package policy

api_version := "0.10.0"
framework_version := "0.2.3"

fragments := []

containers := [
	{"allow_elevated":false,"allow_stdio_access":true,"capabilities":{"ambient":[],"bounding":["CAP_NET_BIND_SERVICE","CAP_KILL"],"effective":["CAP_NET_BIND_SERVICE","CAP_KILL"],"inheritable":[],"permitted":["CAP_NET_BIND_SERVICE","CAP_KILL"]},"command":["/bin/web","-g","a <b> & \"c\""],"env_rules":[{"pattern":"PATH=/bin","required":true,"strategy":"string"},{"pattern":"MODE=a|b","required":true,"strategy":"string"},{"pattern":"(?:NONCE=[0-9a-f]{2})","required":true,"strategy":"re2"},{"pattern":"(?:EXTRA=1|EXTRA=2)","required":false,"strategy":"re2"},{"pattern":"DEBUG=1","required":false,"strategy":"string"}],"exec_processes":[{"command":["/bin/live"],"signals":[9,15]},{"command":["/bin/drain","1"],"signals":[9,15]}],"id":"registry.example/web:v1","layers":["1cdca7b6d120403608dc699d49894404d0e26cf5fcbd599657cc3c082f29631f","e667bc9fc76d54dca631e966ffd8b89d13ffbb6c6e831ac6c1705b4e38d0841c"],"mounts":[{"destination":"/cache","options":["rbind","rshared","rw"],"source":"sandbox:///emptydir/cache","type":"bind"},{"destination":"/run/cloister/attest","options":["rbind","rprivate","ro"],"source":"cloister://attest","type":"bind"}],"name":"web","no_new_privileges":true,"seccomp_profile_sha256":"","signals":[9,15,3],"user":{"group_idnames":[{"pattern":"44","strategy":"id"},{"pattern":"4","strategy":"id"},{"pattern":"70","strategy":"id"}],"umask":"0022","user_idname":{"pattern":"33","strategy":"id"}},"working_dir":"/srv"},
	{"allow_elevated":true,"allow_stdio_access":true,"capabilities":{"ambient":[],"bounding":[],"effective":[],"inheritable":[],"permitted":[]},"command":["/bin/job"],"env_rules":[{"pattern":"PATH=/bin","required":true,"strategy":"string"}],"exec_processes":[],"id":"job","layers":["1cdca7b6d120403608dc699d49894404d0e26cf5fcbd599657cc3c082f29631f"],"mounts":[],"name":"job","no_new_privileges":false,"seccomp_profile_sha256":"","signals":[9,15],"user":{"group_idnames":[{"pattern":"0","strategy":"id"}],"umask":"0022","user_idname":{"pattern":"0","strategy":"id"}},"working_dir":"/"}
]

allow_properties_access := true
allow_dump_stacks := false
allow_runtime_logging := false
allow_environment_variable_dropping := false
allow_unencrypted_scratch := false
allow_capability_dropping := false

mount_device := data.framework.mount_device
unmount_device := data.framework.unmount_device
mount_overlay := data.framework.mount_overlay
unmount_overlay := data.framework.unmount_overlay
create_container := data.framework.create_container
exec_in_container := data.framework.exec_in_container
exec_external := data.framework.exec_external
shutdown_container := data.framework.shutdown_container
signal_container_process := data.framework.signal_container_process
plan9_mount := data.framework.plan9_mount
plan9_unmount := data.framework.plan9_unmount
get_properties := data.framework.get_properties
dump_stacks := data.framework.dump_stacks
runtime_logging := data.framework.runtime_logging
load_fragment := data.framework.load_fragment
scratch_mount := data.framework.scratch_mount
scratch_unmount := data.framework.scratch_unmount

reason := {"errors": data.framework.errors}
