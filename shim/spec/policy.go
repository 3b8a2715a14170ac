package spec

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/cloister-cc/cloister/agent/initdata"
	"github.com/cloister-cc/cloister/shim/boot"
)

// The annotations that bring a policy.
const (
	AnnotationPolicy     = "io.cloister.policy"                               // ours: the text of the policy, or its base64
	AnnotationKataPolicy = "io.katacontainers.config.agent.policy"            // base64 of the policy
	AnnotationInitdata   = "io.katacontainers.config.hypervisor.cc_init_data" // base64 of a gzip member with an initdata document
)

// MaxPolicy bounds a policy that goes to the agent in a request, in bytes: a frame of 4 MiB with room for its envelope.
const MaxPolicy = 4<<20 - 4<<10

// maxInitdata bounds the compressed document, in bytes. Annotations of Kubernetes end at 256 KiB; with `ctr run` they do not.
const maxInitdata = 8 << 20

// maxUnpacked bounds the document that it unpacks to, in bytes. The agent takes larger ones from its disk; here each pod's is in the memory of the host.
const maxUnpacked = 8 << 20

// Carried is a pod's policy as its annotations bring it.
type Carried struct {
	Carrier  boot.Carrier
	Policy   []byte   // the policy's text, whichever way it came
	Initdata []byte   // the document, for boot.CarrierInitdata
	HostData [32]byte // what HOST_DATA must be at launch
	From     string   // the annotation; "" when there is none
}

// PolicyOf reads a pod's policy. Without any of the annotations the answer is the zero Carried and no error. More than one is an error unless they bring
// the same policy: HOST_DATA has room for one.
func PolicyOf(annotations map[string]string) (Carried, error) {
	var found Carried
	for _, c := range []struct {
		name string
		read func(string) (Carried, error)
	}{
		{AnnotationInitdata, readInitdata},
		{AnnotationPolicy, readOwn},
		{AnnotationKataPolicy, readBase64},
	} {
		value := annotations[c.name]
		if value == "" {
			continue
		}
		got, err := c.read(value)
		if err != nil {
			return Carried{}, fmt.Errorf("annotation %s: %w", c.name, err)
		}
		got.From = c.name
		switch {
		case found.From == "":
			found = got
		case !bytes.Equal(found.Policy, got.Policy):
			return Carried{}, fmt.Errorf("annotations %s and %s bring two policies", found.From, c.name)
		}
	}
	return found, nil
}

// PolicyFrom is a policy that does not come from the pod, such as a node's default; from says where it is from.
func PolicyFrom(policy []byte, from string) (Carried, error) {
	c, err := asRequest(policy)
	if err != nil {
		return Carried{}, fmt.Errorf("%s: %w", from, err)
	}
	c.From = from
	return c, nil
}

func asRequest(policy []byte) (Carried, error) {
	switch {
	case len(policy) == 0:
		return Carried{}, errors.New("the policy is empty")
	case len(policy) > MaxPolicy:
		return Carried{}, fmt.Errorf("the policy has %d bytes, want at most %d", len(policy), MaxPolicy)
	case !utf8.Valid(policy):
		return Carried{}, errors.New("the policy is not UTF-8")
	}
	return Carried{Carrier: boot.CarrierSetPolicy, Policy: policy, HostData: sha256.Sum256(policy)}, nil
}

// readOwn takes a text with a line that begins with "package" for the policy itself: base64 has no space.
func readOwn(value string) (Carried, error) {
	if strings.Contains(value, "package ") {
		return asRequest([]byte(value))
	}
	return readBase64(value)
}

func readBase64(value string) (Carried, error) {
	text, err := decode(value, MaxPolicy)
	if err != nil {
		return Carried{}, err
	}
	return asRequest(text)
}

func readInitdata(value string) (Carried, error) {
	packed, err := decode(value, maxInitdata)
	if err != nil {
		return Carried{}, err
	}
	if err := checkUnpacked(packed); err != nil {
		return Carried{}, err
	}
	// The reader of disks has all other bounds and checks; the annotation is what a disk has behind its header.
	disk := binary.LittleEndian.AppendUint64([]byte("initdata"), uint64(len(packed)))
	disk = append(disk, packed...)
	doc, err := initdata.Read(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		return Carried{}, err
	}
	policy, ok := doc.Data[initdata.PolicyKey]
	if !ok || policy == "" {
		return Carried{}, fmt.Errorf("the document has no %s", initdata.PolicyKey)
	}
	return Carried{Carrier: boot.CarrierInitdata, Policy: []byte(policy), Initdata: doc.Raw, HostData: doc.HostData()}, nil
}

// checkUnpacked unpacks a document and keeps nothing of it. What is not gzip is left to the reader of disks.
func checkUnpacked(packed []byte) error {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil
	}
	z.Multistream(false)
	if n, _ := io.Copy(io.Discard, io.LimitReader(z, maxUnpacked+1)); n > maxUnpacked {
		return fmt.Errorf("unpacked document: got more than %d bytes, want at most %d", maxUnpacked, maxUnpacked)
	}
	return nil
}

// decode reads standard base64, with line breaks as tools wrap it, and says no more about it than its size: policies may hold what nobody else should read.
func decode(value string, limit int) ([]byte, error) {
	if most := base64.StdEncoding.EncodedLen(limit); len(value) > most+most/32 {
		return nil, fmt.Errorf("got %d characters, want at most %d", len(value), most)
	}
	value = strings.TrimSpace(value)
	encoding := base64.StdEncoding
	if strings.ContainsAny(value, "-_") {
		encoding = base64.URLEncoding
	}
	out, err := encoding.DecodeString(value)
	if err != nil {
		return nil, errors.New("is not base64")
	}
	if len(out) > limit {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(out), limit)
	}
	return out, nil
}
