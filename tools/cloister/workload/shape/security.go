package shape

import (
	"encoding/base64"
	"encoding/json"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
)

// Security reads a container's security context as container groups write it, in templates and in the JSON configurations alike.
func Security(v Value) workload.Security {
	s := workload.Security{
		Privileged:               v.Get("privileged").Bool(),
		AllowPrivilegeEscalation: v.Get("allowPrivilegeEscalation").Bool(),
		AddCapabilities:          v.Get("capabilities").Get("add").KnownTexts(),
		DropCapabilities:         v.Get("capabilities").Get("drop").KnownTexts(),
		RunAsUser:                v.Get("runAsUser").Whole(),
		RunAsGroup:               v.Get("runAsGroup").Whole(),
	}
	if v.Is() {
		s.Origin = v.Origin()
	}
	profile := v.Get("seccompProfile")
	if encoded := profile.Known(); encoded != "" {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || !json.Valid(raw) {
			profile.Errorf("want the base64 of a JSON document")
		}
		s.SeccompProfile = raw
	}
	return s
}
