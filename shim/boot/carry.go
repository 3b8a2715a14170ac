package boot

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"

	"github.com/cloister-cc/cloister/agent/initdata"
)

// Carrier is how the policy reaches the guest.
type Carrier string

// The two carriers of the policy contract.
const (
	CarrierSetPolicy Carrier = "setpolicy" // a request; HOST_DATA is the SHA-256 of the policy
	CarrierInitdata  Carrier = "initdata"  // a disk; HOST_DATA is the digest of the document
)

// Carried is a policy as its carrier brings it: what HOST_DATA must be and, for initdata, the text of the document.
type Carried struct {
	HostData [32]byte
	Initdata []byte // nil without a disk
}

// Carry makes what a carrier needs of a policy.
func Carry(carrier Carrier, policy []byte) (Carried, error) {
	switch carrier {
	case CarrierSetPolicy:
		return Carried{HostData: sha256.Sum256(policy)}, nil
	case CarrierInitdata:
		doc, err := initdata.Build("sha256", map[string]string{initdata.PolicyKey: string(policy)})
		if err != nil {
			return Carried{}, err
		}
		return Carried{HostData: doc.HostData(), Initdata: doc.Raw}, nil
	}
	return Carried{}, fmt.Errorf("carrier: got %q, want %q or %q", carrier, CarrierSetPolicy, CarrierInitdata)
}

// WriteInitdata makes the disk that carries an initdata document. The file must not exist.
func WriteInitdata(path string, document []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write initdata disk: %w", err)
	}
	return errors.Join(initdata.WriteDisk(f, document), f.Close())
}
