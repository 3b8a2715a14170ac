package spec

import (
	"errors"

	"github.com/cloister-cc/cloister/shim/boot"
)

// The annotations that bring a policy.
const (
	AnnotationPolicy     = "io.cloister.policy"                               // ours: the text of the policy, or its base64
	AnnotationKataPolicy = "io.katacontainers.config.agent.policy"            // base64 of the policy
	AnnotationInitdata   = "io.katacontainers.config.hypervisor.cc_init_data" // base64 of a gzip member with an initdata document
)

// Carried is a pod's policy as its annotations bring it.
type Carried struct {
	Carrier  boot.Carrier
	Policy   []byte   // the policy's text, whichever way it came
	Initdata []byte   // the document, for boot.CarrierInitdata
	HostData [32]byte // what HOST_DATA must be at launch
	From     string   // the annotation; "" when there is none
}

// PolicyOf reads a pod's policy. Without any of the annotations the answer is the zero Carried and no error.
func PolicyOf(annotations map[string]string) (Carried, error) {
	return Carried{}, errors.New("not built yet")
}

// PolicyFrom is a policy that does not come from the pod, such as a node's default; from says where it is from.
func PolicyFrom(policy []byte, from string) (Carried, error) {
	return Carried{}, errors.New("not built yet")
}
