package attest

import (
	"bytes"
	"encoding/base64"
	"sync"

	"github.com/cloister-cc/cloister/snp"
)

// maxBundlePolicy bounds what of policy and initdata a bundle carries, in bytes; what is larger the relying party must have itself.
const maxBundlePolicy = 4 << 20

// document is one JSON answer in parts: what is large is encoded once and shared by every answer that carries it.
type document struct {
	parts [][]byte
}

func (d *document) size() (n int) {
	for _, p := range d.parts {
		n += len(p)
	}
	return n
}

func (d *document) bytes() []byte { return bytes.Join(d.parts, nil) }

// member is a member of an object whose value is base64, after another member. Neither name nor value needs escapes.
func member(name string, value []byte) []byte {
	b := make([]byte, 0, len(name)+8+base64.StdEncoding.EncodedLen(len(value)))
	return appendMember(b, name, value)
}

func appendMember(b []byte, name string, value []byte) []byte {
	b = append(append(append(b, `,"`...), name...), `":"`...)
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, '"')
}

// bundle is the bundle of evidence (snp.Bundle, which a test compares it with), with what the agent adds to every one and more members of the caller's.
// The policy can be megabytes: marshalling it anew would be most of what an answer costs.
func (b *Broker) bundle(ev snp.Evidence, preimage []byte, more ...[]byte) *document {
	const start = `{"version":1,"type":"sev-snp","report":"`
	encoded := base64.StdEncoding.EncodedLen
	head := make([]byte, 0, len(start)+encoded(len(ev.Report))+encoded(len(ev.Certs))+encoded(len(preimage))+64)
	head = base64.StdEncoding.AppendEncode(append(head, start...), ev.Report)
	head = appendMember(append(head, '"'), "certs", ev.Certs)
	if preimage != nil {
		head = appendMember(head, "preimage", preimage)
	}
	d := &document{parts: [][]byte{head}}
	if p := b.opt.Policy(); p != nil {
		d.parts = append(d.parts, b.pieces.ofPolicy(p))
	}
	if e := b.opt.UVMEndorsement(); len(e) > 0 {
		d.parts = append(d.parts, b.pieces.ofEndorsement(e))
	}
	d.parts = append(d.parts, more...)
	d.parts = append(d.parts, []byte("}\n"))
	return d
}

// pieces are members of bundles, encoded. None is changed once it was handed out.
type pieces struct {
	mu          sync.Mutex
	policy      piece[*Policy]
	events      piece[[32]byte]
	endorsement piece[string]
}

// piece is an encoding and what it is of.
type piece[K comparable] struct {
	of      K
	made    bool
	encoded []byte
}

func (p *piece[K]) get(of K, encode func() []byte) []byte {
	if !p.made || p.of != of {
		*p = piece[K]{of: of, made: true, encoded: encode()}
	}
	return p.encoded
}

func (p *pieces) ofPolicy(policy *Policy) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.policy.get(policy, func() []byte {
		out := []byte(`,"carrier":"` + policy.Carrier + `"`)
		if len(policy.Text)+len(policy.Initdata) > maxBundlePolicy {
			return out
		}
		if len(policy.Text) > 0 {
			out = appendMember(out, "policy", policy.Text)
		}
		if len(policy.Initdata) > 0 {
			out = appendMember(out, "initdata", policy.Initdata)
		}
		return out
	})
}

func (p *pieces) ofEndorsement(cose []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.endorsement.get(string(cose), func() []byte { return member("uvm_endorsement", cose) })
}

// ofEvents returns the head of the log and the member with the excerpt that ends in it. The excerpt is taken once, and what is bound is its own head: what is
// appended meanwhile is in neither.
func (p *pieces) ofEvents(log EventLog) (head [32]byte, encoded []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.events.made && p.events.of == log.Head() {
		return p.events.of, p.events.encoded
	}
	x := log.Excerpt()
	return x.Head, p.events.get(x.Head, func() []byte { return member("event_log", x.Encode()) })
}
