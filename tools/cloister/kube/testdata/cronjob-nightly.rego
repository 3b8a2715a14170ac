package policy

api_version := "0.12.0"
framework_version := "0.5.0"

fragments := []

containers := [
	{"allow_elevated":false,"allow_stdio_access":true,"capabilities":{"ambient":[],"bounding":["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"],"effective":["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"],"inheritable":[],"permitted":["CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"]},"command":["/entry","go"],"env_rules":[{"pattern":"PATH=/bin","required":true,"strategy":"string"},{"pattern":"LANG=C","required":true,"strategy":"string"},{"pattern":"IP=none","required":true,"strategy":"string"},{"pattern":"(?:HOSTNAME=nightly-[0-9]{8}-[bcdfghjklmnpqrstvwxz2456789]{5})","required":true,"strategy":"re2"},{"pattern":"(?:[A-Z0-9][A-Z0-9_]*_SERVICE_HOST=(?:(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}))","required":false,"strategy":"re2"},{"pattern":"(?:[A-Z0-9][A-Z0-9_]*_SERVICE_PORT(?:_[A-Z0-9_]+)?=[1-9][0-9]{0,4})","required":false,"strategy":"re2"},{"pattern":"(?:[A-Z0-9][A-Z0-9_]*_PORT=(?:tcp|udp|sctp)://(?:(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|\\[[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}\\]):[1-9][0-9]{0,4})","required":false,"strategy":"re2"},{"pattern":"(?:[A-Z0-9][A-Z0-9_]*_PORT_[1-9][0-9]{0,4}_(?:TCP|UDP|SCTP)=(?:tcp|udp|sctp)://(?:(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|\\[[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}\\]):[1-9][0-9]{0,4})","required":false,"strategy":"re2"},{"pattern":"(?:[A-Z0-9][A-Z0-9_]*_PORT_[1-9][0-9]{0,4}_(?:TCP|UDP|SCTP)_PROTO=(?:tcp|udp|sctp))","required":false,"strategy":"re2"},{"pattern":"(?:[A-Z0-9][A-Z0-9_]*_PORT_[1-9][0-9]{0,4}_(?:TCP|UDP|SCTP)_PORT=[1-9][0-9]{0,4})","required":false,"strategy":"re2"},{"pattern":"(?:[A-Z0-9][A-Z0-9_]*_PORT_[1-9][0-9]{0,4}_(?:TCP|UDP|SCTP)_ADDR=(?:(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}))","required":false,"strategy":"re2"}],"exec_processes":[],"id":"app","layers":["1cdca7b6d120403608dc699d49894404d0e26cf5fcbd599657cc3c082f29631f","242070390b7bd1f07bf64a060f8cd7114c625e4390855c2178898fcab63ba51a"],"mounts":[{"destination":"/var/run/secrets/kubernetes.io/serviceaccount","options":["rbind","rprivate","ro"],"source":"sandbox:///shared/serviceaccount","type":"bind"},{"destination":"/dev/termination-log","options":["rbind","rprivate","rw"],"source":"sandbox:///shared/termination-log","type":"bind"}],"name":"nightly","no_new_privileges":false,"seccomp_profile_sha256":"","signals":[9,15],"user":{"group_idnames":[{"pattern":"0","strategy":"id"}],"umask":"0022","user_idname":{"pattern":"0","strategy":"id"}},"working_dir":"/image"}
]

allow_properties_access := true
allow_dump_stacks := false
allow_runtime_logging := false
allow_environment_variable_dropping := false
allow_unencrypted_scratch := false
allow_capability_dropping := false
allow_host_network := false

mount_device := data.framework.mount_device
rw_mount_device := data.framework.rw_mount_device
mount_blockdev := data.framework.mount_blockdev
unmount_device := data.framework.unmount_device
rw_unmount_device := data.framework.rw_unmount_device
unmount_blockdev := data.framework.unmount_blockdev
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
load_transparency_trust_list := data.framework.load_transparency_trust_list
host_network := data.framework.host_network

reason := {"errors": data.framework.errors}
