package gate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path"
	"strings"
	"sync"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/point"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

// Events is the event log of the guest: the gate writes what is decided, the sandbox what becomes of it.
func (g *Gate) Events() *eventlog.Log { return g.events }

// Decision is an allowed request. Its commit, and an undo after that, are in the event log.
type Decision struct {
	*enforcer.Decision
	events *eventlog.Log
	about  eventlog.Entry
}

// Commit makes the decision's state change, as enforcer.Decision.Commit does.
func (d *Decision) Commit() (undo func(), err error) {
	back, err := d.Decision.Commit()
	e := d.about
	if err != nil {
		e.Kind = eventlog.KindCommitFailed
		d.events.Append(e)
		return nil, err
	}
	return sync.OnceFunc(func() {
		back()
		e.Kind = eventlog.KindUndone
		d.events.Append(e)
	}), nil
}

// decided writes what the policy said, and returns the decision that writes what becomes of it.
func (g *Gate) decided(e eventlog.Entry, d *enforcer.Decision, err error) *Decision {
	e.Kind, e.Verdict = eventlog.KindDecision, eventlog.Allowed
	var denial *enforcer.Denial
	switch {
	case errors.As(err, &denial):
		// The point of a document is known only once it was looked at.
		e.Verdict, e.Point, e.Rule, e.Field, e.Decision = eventlog.Refused, string(denial.Point), denial.KnownRule(), denial.Field, denial.ID
	case err != nil:
		e.Verdict, e.Rule = eventlog.Refused, "could not decide"
	default:
		e.Point, e.Decision = string(d.Point), d.ID
	}
	if changesNothing(e.Point) {
		if e.Count = g.repeats.count(e.Point, e.Request, e.Verdict, e.Rule); e.Count == 0 {
			return &Decision{d, g.events, e}
		}
		e.Decision = ""
	}
	g.events.Append(e)
	return &Decision{d, g.events, e}
}

// changesNothing says that a decision at this point leaves the guest as it was. Monitoring asks without end.
func changesNothing(p string) bool {
	switch enforcer.Point(p) {
	case enforcer.PointGetProperties, enforcer.PointDumpStacks, enforcer.PointRuntimeLogging:
		return true
	}
	return false
}

// RefuseUndecided writes that a request was refused without asking the policy. Both texts are of fixed sets.
func (g *Gate) RefuseUndecided(message, rule string) {
	if n := g.repeats.count(message, rule); n > 0 {
		g.events.Append(eventlog.Entry{Kind: eventlog.KindRequestRefused, Request: message, Rule: rule, Count: n})
	}
}

// repeats counts what changes nothing and is asked over and over: it is written the first, second, fourth, eighth time, so that it says how
// often and does not push what matters out of the log.
type repeats struct {
	mu sync.Mutex
	n  map[string]uint64
}

// maxRepeats bounds the table; its keys are of fixed sets, so that it never gets there.
const maxRepeats = 1024

// count returns how often it was asked, if that is to be written, else 0.
func (r *repeats) count(key ...string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := strings.Join(key, "\x00")
	if r.n == nil {
		r.n = map[string]uint64{}
	}
	if _, known := r.n[k]; !known && len(r.n) >= maxRepeats {
		return 1
	}
	r.n[k]++
	if n := r.n[k]; n&(n-1) == 0 {
		return n
	}
	return 0
}

// about says what an input is about: the container, names the agent made, digests. Nothing else of a request gets into the log.
func about(message string, in enforcer.Input) eventlog.Entry {
	e := eventlog.Entry{Request: message, Point: string(in.Point())}
	e.Container, _ = point.ContainerOf(in)
	switch in := in.(type) {
	case enforcer.MountDeviceInput:
		e.Target = in.Target
		e.Digest, _ = hex.DecodeString(in.DeviceHash)
	case enforcer.RWMountDeviceInput:
		e.Target = in.Target
	case enforcer.RWUnmountDeviceInput:
		e.Target = in.UnmountTarget
	case enforcer.MountOverlayInput:
		e.Container, e.Target, e.Detail = in.ContainerID, in.Target, layerNames(in.LayerPaths)
	case enforcer.ScratchMountInput:
		e.Target = in.Target
	case enforcer.UnmountDeviceInput:
		e.Target = in.UnmountTarget
	case enforcer.UnmountOverlayInput:
		e.Target = in.UnmountTarget
	case enforcer.ScratchUnmountInput:
		e.Target = in.UnmountTarget
	case enforcer.CreateContainerInput:
		e.Digest = argsDigest(in.ArgList)
	case enforcer.ExecInContainerInput:
		e.Digest = argsDigest(in.ArgList)
	case enforcer.SignalContainerProcessInput:
		e.Code = int64(in.Signal)
	}
	return e
}

// layerNames are the last parts of the agent's names for layers, top first.
func layerNames(paths []string) string {
	names := make([]string, len(paths))
	for i, p := range paths {
		names[i] = path.Base(p)
	}
	return strings.Join(names, " ")
}

func argsDigest(argv []string) []byte {
	d := identity.ArgsDigest(argv)
	return d[:]
}

// loadedDocument says that a signed document counts from now on.
func loadedDocument(d *Decision, document []byte, mediaType string) eventlog.Entry {
	sum := sha256.Sum256(document)
	e := eventlog.Entry{
		Kind: eventlog.KindFragmentLoaded, Point: string(d.Point), Decision: d.ID, Digest: sum[:], Detail: mediaType,
	}
	if d.Document != nil {
		e.Issuer, e.Feed, e.SVN = d.Document.Issuer, d.Document.Feed, d.Document.SVN
	}
	return e
}
