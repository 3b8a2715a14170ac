package kube

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/agent/initdata"
)

// The annotations by which Kata's shims hand a policy over (agent API contract, section 3.4).
const (
	PolicyAnnotation   = "io.katacontainers.config.agent.policy"
	InitdataAnnotation = "io.katacontainers.config.hypervisor.cc_init_data"
)

// maxAnnotations is what the API server takes of keys and values together.
const maxAnnotations = 256 << 10

// Carrier is a policy as an annotation carries it.
type Carrier struct {
	Key, Value string
	HostData   [initdata.HostDataSize]byte // what the VM must be launched with
}

// PolicyCarrier hands the policy over by itself: base64 of its text, HOST_DATA is the text's SHA-256.
func PolicyCarrier(w *Workload, policy []byte) (Carrier, error) {
	if _, there := w.Annotations[InitdataAnnotation]; there {
		return Carrier{}, fmt.Errorf("the template has the annotation %s already, and a VM takes one policy", InitdataAnnotation)
	}
	c := Carrier{Key: PolicyAnnotation, Value: base64.StdEncoding.EncodeToString(policy), HostData: sha256.Sum256(policy)}
	return c, w.fits(c)
}

// InitdataCarrier hands the policy over in an initdata document: base64 of its gzip, HOST_DATA is the first 32 bytes of the
// document's digest. What a document that the template has already holds besides the policy is kept. algorithm is "sha256",
// "sha384" or "sha512"; "" is the present document's, or sha256.
func InitdataCarrier(w *Workload, policy []byte, algorithm string) (Carrier, error) {
	if _, there := w.Annotations[PolicyAnnotation]; there {
		return Carrier{}, fmt.Errorf("the template has the annotation %s already, and a VM takes one policy", PolicyAnnotation)
	}
	data := map[string]string{}
	if value, there := w.Annotations[InitdataAnnotation]; there {
		old, err := ReadInitdata(value)
		if err != nil {
			return Carrier{}, fmt.Errorf("annotation %s: %w", InitdataAnnotation, err)
		}
		if maps.Copy(data, old.Data); algorithm == "" {
			algorithm = old.Algorithm
		}
	}
	if algorithm == "" {
		algorithm = "sha256"
	}
	if !utf8.Valid(policy) {
		return Carrier{}, errors.New("the policy is not UTF-8")
	}
	data[initdata.PolicyKey] = string(policy)
	document, err := initdata.Build(algorithm, data)
	if err != nil {
		return Carrier{}, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return Carrier{}, err
	}
	if _, err := z.Write(document.Raw); err != nil {
		return Carrier{}, err
	}
	if err := z.Close(); err != nil {
		return Carrier{}, err
	}
	c := Carrier{Key: InitdataAnnotation, Value: base64.StdEncoding.EncodeToString(packed.Bytes()), HostData: document.HostData()}
	return c, w.fits(c)
}

// Policy is the policy that the template's annotation of that key has now; nil where there is none.
func (w *Workload) Policy(key string) ([]byte, error) {
	value := w.Annotations[key]
	if value == "" {
		return nil, nil
	}
	var policy []byte
	var err error
	if key == InitdataAnnotation {
		var document *initdata.Document
		if document, err = ReadInitdata(value); err == nil {
			policy = []byte(document.Data[initdata.PolicyKey])
		}
	} else if policy, err = base64.StdEncoding.DecodeString(value); err != nil {
		policy, err = []byte(value), nil // not one that an agent takes, but somebody's
	}
	if err != nil {
		err = fmt.Errorf("%s: annotation %s: %w", w, key, err)
	}
	return policy, err
}

// ReadInitdata reads the value of an initdata annotation.
func ReadInitdata(value string) (*initdata.Document, error) {
	packed, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(z, initdata.MaxUnpacked+1))
	if err != nil {
		return nil, err
	}
	return initdata.Parse(raw)
}

// fits refuses what the API server would.
func (w *Workload) fits(c Carrier) error {
	size := len(c.Key) + len(c.Value)
	for key, value := range w.Annotations {
		if key != c.Key {
			size += len(key) + len(value)
		}
	}
	if size > maxAnnotations {
		return fmt.Errorf("the template's annotations would be %d bytes, want at most %d%s", size, maxAnnotations, hintOf(c))
	}
	return nil
}

func hintOf(c Carrier) string {
	if c.Key == PolicyAnnotation {
		return " (initdata is packed)"
	}
	return ""
}
