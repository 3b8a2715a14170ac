package gate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/snp/eventlog"
)

// MaxRefusal is the length of a refusal's first line, in bytes (docs/architecture.md).
const MaxRefusal = 512

// MaxInitdataPolicy is the size of a policy that comes by an initdata disk, in bytes; by SetPolicy the frame is the bound (docs/architecture.md).
const MaxInitdataPolicy = 64 << 20

// HostData reads HOST_DATA of a fresh report of the guest's own SNP device.
type HostData func(ctx context.Context) ([32]byte, error)

// Options of a gate.
type Options struct {
	// HostData is nil only when running without a TEE was asked for by name.
	HostData HostData
	Enforcer enforcer.Options
	// Observe is told of each decision, for the log and the metrics; it must not keep the error's text for the host.
	Observe func(point enforcer.Point, message string, err error)
	// Events is the guest's event log, which begins with how the agent is run; nil makes one that says nothing of that.
	Events *eventlog.Log
}

// Gate holds the one policy of the guest.
type Gate struct {
	opt    Options
	events *eventlog.Log

	mu     sync.RWMutex
	policy *Policy

	denials   denials
	repeats   repeats
	fragments atomic.Int64 // that were loaded
}

// Policy is the bound policy and what was bound with it.
type Policy struct {
	Enforcer *enforcer.Enforcer
	Text     []byte
	Digest   [32]byte // what HOST_DATA holds
	Initdata []byte   // the document, when the policy came by an initdata disk
	Broker   bool     // the policy names cloister:// grants: only what it names is given (docs/architecture.md)
	Logging  bool     // runtime_logging was allowed when the policy was bound
}

// New makes a gate without a policy.
func New(opt Options) *Gate {
	if opt.Events == nil {
		opt.Events = eventlog.New(eventlog.Entry{}, eventlog.Limits{})
	}
	return &Gate{opt: opt, events: opt.Events}
}

// Insecure says that the guest runs without a TEE.
func (g *Gate) Insecure() bool { return g.opt.HostData == nil }

// Policy returns the bound policy, or nil.
func (g *Gate) Policy() *Policy {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.policy
}

// Admit finds the row of a call and refuses what may not even be looked at. method is service/method.
func (g *Gate) Admit(method string) (*Row, error) {
	row := byMethod[method]
	if row == nil {
		g.RefuseUndecided("", "no such method")
		return nil, status.Errorf(codes.Unimplemented, "%.128q has no row in the gate", method)
	}
	if row.Way == Refused {
		g.RefuseUndecided(row.Message, "never allowed")
		return nil, Refusal(row.Message, "never allowed: "+row.Why)
	}
	if !row.Unbound && g.Policy() == nil {
		g.RefuseUndecided(row.Message, "no policy is bound")
		return nil, Refusal(row.Message, "no policy is bound yet: send SetPolicy first")
	}
	return row, nil
}

// NeedsWhole says whether a method needs more than the bare agent: everything but health, guest details and what is refused anyway.
func NeedsWhole(method string) bool {
	row := byMethod[method]
	return row != nil && row.Way != Refused && (!row.Unbound || row.Way == Own)
}

// BindPolicy binds the text of a SetPolicy request: HOST_DATA must be its SHA-256.
func (g *Gate) BindPolicy(ctx context.Context, text []byte) error {
	return g.bind(ctx, sha256.Sum256(text), &Policy{Text: text}, "SetPolicy", g.opt.Enforcer)
}

// BindInitdata binds the policy of an initdata document: HOST_DATA must be the first 32 bytes of the document's digest.
func (g *Gate) BindInitdata(ctx context.Context, digest [32]byte, document, text []byte) error {
	opt := g.opt.Enforcer
	opt.PolicyLimit = MaxInitdataPolicy
	return g.bind(ctx, digest, &Policy{Text: text, Initdata: document}, "initdata", opt)
}

var grants = regexp.MustCompile(`cloister://(attest|sev-guest|keys)`)

// bindMessage is what refusals to bind a policy name, whatever carried it.
const bindMessage = "SetPolicyRequest"

func (g *Gate) bind(ctx context.Context, digest [32]byte, p *Policy, carrier string, opt enforcer.Options) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := eventlog.Entry{Kind: eventlog.KindPolicy, Verdict: eventlog.Allowed, Digest: digest[:], Detail: "carrier=" + carrier}
	if rule, err := g.load(ctx, digest, p, opt); err != nil {
		e.Verdict, e.Rule = eventlog.Refused, rule
		g.events.Append(e)
		return Refusal(bindMessage, err.Error())
	}
	judge, _ := p.Enforcer.Judge()
	e.Detail += " judge=" + string(judge)
	g.events.Append(e)
	d, err := p.Enforcer.Decide(ctx, enforcer.RuntimeLoggingInput{})
	if decision := g.decided(about(bindMessage, enforcer.RuntimeLoggingInput{}), d, err); err == nil {
		_, err = decision.Commit()
		p.Logging = err == nil
	}
	g.policy = p
	return nil
}

// load makes the enforcer of a policy that may be bound. rule is an error's kind, of a fixed set.
func (g *Gate) load(ctx context.Context, digest [32]byte, p *Policy, opt enforcer.Options) (rule string, err error) {
	if g.policy != nil {
		return "a policy is bound already", errors.New("a policy is already bound, and only one ever is")
	}
	if rule, err := g.checkHostData(ctx, digest); err != nil {
		return rule, err
	}
	p.Text = bytes.Clone(p.Text)
	e, err := enforcer.Load(ctx, p.Text, opt)
	if err != nil {
		return "the policy does not load", fmt.Errorf("the policy does not load: %w", err)
	}
	p.Enforcer, p.Digest, p.Broker = e, digest, grants.Match(p.Text)
	return "", nil
}

// checkHostData compares the digest with the report's HOST_DATA. All zero means that nothing was bound at launch.
func (g *Gate) checkHostData(ctx context.Context, digest [32]byte) (rule string, err error) {
	if g.opt.HostData == nil {
		return "", nil
	}
	got, err := g.opt.HostData(ctx)
	switch {
	case err != nil:
		return "HOST_DATA cannot be read", fmt.Errorf("HOST_DATA cannot be read: %w", err)
	case got == [32]byte{}:
		return "HOST_DATA is all zero", errors.New("HOST_DATA is all zero: the VM was launched without a policy hash")
	case got != digest:
		return "HOST_DATA is another", fmt.Errorf("the policy's hash is %x, HOST_DATA is %x", digest, got)
	}
	return "", nil
}

// Decide asks the policy. A refusal is a PermissionDenied status for message; so is the failure to decide.
func (g *Gate) Decide(ctx context.Context, message string, in enforcer.Input) (*Decision, error) {
	p := g.Policy()
	if p == nil {
		g.RefuseUndecided(message, "no policy is bound")
		return nil, Refusal(message, "no policy is bound")
	}
	d, err := p.Enforcer.Decide(ctx, in)
	if g.opt.Observe != nil {
		g.opt.Observe(in.Point(), message, err)
	}
	decision := g.decided(about(message, in), d, err)
	if err == nil {
		return decision, nil
	}
	var denial *enforcer.Denial
	if !errors.As(err, &denial) {
		return nil, Refusal(message, fmt.Sprintf("%s: could not decide: %v", in.Point(), err))
	}
	line := refusalLine(message, denial.Error())
	if p.Logging {
		g.denials.keep(denial.ID, explanation(p.Enforcer, in, denial))
		line += "\n" + denial.PolicyDecision()
	}
	return nil, status.Error(codes.PermissionDenied, line)
}

// Refusal is a PermissionDenied status in the form that clients look for (agent API contract 1.4).
func Refusal(message, reason string) error {
	return status.Error(codes.PermissionDenied, refusalLine(message, reason))
}

func refusalLine(message, reason string) string {
	line := message + " is blocked by policy: " + strings.Join(strings.Fields(reason), " ")
	if len(line) > MaxRefusal {
		line = strings.ToValidUTF8(line[:MaxRefusal-3], "") + "..."
	}
	return line
}
