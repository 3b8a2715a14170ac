package attest

import (
	"bytes"
	"encoding/base64"
	"io"
	"sync"

	"github.com/cloister-cc/cloister/snp"
)

// maxBundlePolicy bounds what of policy and initdata a bundle carries, in bytes; what is larger the relying party must have itself.
const maxBundlePolicy = 4 << 20

// smallAnswer is what is copied together before it is written, in bytes: one system call costs more than the copy.
const smallAnswer = 64 << 10

// document is one JSON answer: what is small in one piece, then what is large, which is encoded once and shared by every answer that carries it.
type document struct {
	small  []byte
	large  [][]byte
	pooled *[]byte // where small goes once the answer was sent
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, smallAnswer); return &b }}

// literal is a document that is made already.
func literal(b []byte) *document { return &document{small: b} }

// add puts a piece behind the others. Members of an object may stand in any order, and large ones stand behind small ones.
func (d *document) add(piece []byte) {
	if len(d.small)+len(piece) <= smallAnswer {
		d.small = append(d.small, piece...)
		return
	}
	d.large = append(d.large, piece)
}

// end closes the object.
func (d *document) end() {
	const brace = "}\n"
	if len(d.large) == 0 {
		d.small = append(d.small, brace...)
		return
	}
	d.large = append(d.large, []byte(brace))
}

func (d *document) size() int {
	n := len(d.small)
	for _, p := range d.large {
		n += len(p)
	}
	return n
}

func (d *document) bytes() []byte {
	return bytes.Join(append([][]byte{d.small}, d.large...), nil)
}

// send writes the document, which is gone then. An error is the connection's end, which the server notices by itself.
func (d *document) send(w io.Writer) {
	_, err := w.Write(d.small)
	for _, p := range d.large {
		if err != nil {
			break
		}
		_, err = w.Write(p)
	}
	if d.pooled != nil && cap(d.small) <= 2*smallAnswer {
		*d.pooled = d.small[:0]
		buffers.Put(d.pooled)
	}
}

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
	pooled := buffers.Get().(*[]byte)
	d := &document{small: (*pooled)[:0], pooled: pooled}
	d.small = base64.StdEncoding.AppendEncode(append(d.small, `{"version":1,"type":"sev-snp","report":"`...), ev.Report)
	d.small = appendMember(append(d.small, '"'), "certs", ev.Certs)
	if preimage != nil {
		d.small = appendMember(d.small, "preimage", preimage)
	}
	if p := b.opt.Policy(); p != nil {
		d.add(b.pieces.ofPolicy(p))
	}
	if e := b.opt.UVMEndorsement(); len(e) > 0 {
		d.add(b.pieces.ofEndorsement(e))
	}
	for _, m := range more {
		d.add(m)
	}
	d.end()
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
