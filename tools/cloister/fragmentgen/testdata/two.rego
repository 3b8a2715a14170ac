package side

svn := "7"
framework_version := "0.2.3"

fragments := [
  {
    "feed": "registry.example/infra",
    "includes": [
      "containers"
    ],
    "issuer": "did:x509:0:sha256:I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s::eku:1.3.6.1.4.1.311.76.59.1.3",
    "minimum_svn": "4"
  }
]

containers := [{"allow_elevated":false,"allow_stdio_access":true,"capabilities":{"ambient":[],"bounding":["CAP_KILL"],"effective":["CAP_KILL"],"inheritable":[],"permitted":["CAP_KILL"]},"command":["/bin/side","-p","80"],"env_rules":[{"pattern":"MODE=fast","required":true,"strategy":"string"},{"pattern":"(?:NONCE=[0-9a-f]{4})","required":false,"strategy":"re2"}],"exec_processes":[{"command":["/bin/check","-v"],"signals":[9]}],"id":"side","layers":["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"],"mounts":[{"destination":"/data","options":["rbind","rshared","ro"],"source":"sandbox:///data/.+","type":"bind"}],"name":"side","no_new_privileges":true,"seccomp_profile_sha256":"","signals":[9,15],"user":{"group_idnames":[{"pattern":"33","strategy":"id"}],"umask":"0022","user_idname":{"pattern":"33","strategy":"id"}},"working_dir":"/srv"},{"allow_elevated":false,"allow_stdio_access":true,"capabilities":{"ambient":[],"bounding":["CAP_KILL"],"effective":["CAP_KILL"],"inheritable":[],"permitted":["CAP_KILL"]},"command":["/bin/<other> & ä","-p","80"],"env_rules":[{"pattern":"MODE=fast","required":true,"strategy":"string"},{"pattern":"(?:NONCE=[0-9a-f]{4})","required":false,"strategy":"re2"}],"exec_processes":[{"command":["/bin/check","-v"],"signals":[9]}],"id":"side","layers":["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"],"mounts":[{"destination":"/data","options":["rbind","rshared","ro"],"source":"sandbox:///data/.+","type":"bind"}],"name":"side","no_new_privileges":true,"seccomp_profile_sha256":"","signals":[9,15],"user":{"group_idnames":[{"pattern":"33","strategy":"id"}],"umask":"0022","user_idname":{"pattern":"33","strategy":"id"}},"working_dir":"/srv"}]
