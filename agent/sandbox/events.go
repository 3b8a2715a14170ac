package sandbox

import (
	"context"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/agent/gate"
	"github.com/cloister-cc/cloister/snp/eventlog"
	"github.com/cloister-cc/cloister/snp/identity"
)

// What becomes of a decision is written to the event log: the guest's own record, which a relying party reads. An entry has keys, digests and
// words of fixed sets, never an id, a path or a word of the host's.

// Since when a sandbox is poisoned, in the event log's words.
const (
	poisonPanic   = "the agent failed in a request"
	poisonUndo    = "a failed request could not be undone"
	poisonMount   = "a mount may or may not have happened"
	poisonUnmount = "an unmount may or may not have happened"
)

func (s *Sandbox) event(e eventlog.Entry) { s.cfg.Gate.Events().Append(e) }

// happened writes an event of one container, or of the pod.
func (s *Sandbox) happened(kind, key string) { s.event(eventlog.Entry{Kind: kind, Container: key}) }

// failed writes that a container could not be made.
func (s *Sandbox) failed(key string, err error) {
	rule := "a step failed"
	switch status.Code(err) {
	case codes.PermissionDenied:
		rule = "the policy refused"
	case codes.InvalidArgument:
		rule = "the request's form"
	}
	s.event(eventlog.Entry{Kind: eventlog.KindContainerFailed, Container: key, Rule: rule})
}

// sends writes that a signal is about to be sent: before what it causes.
func (s *Sandbox) sends(key, target string, signal unix.Signal) {
	s.event(eventlog.Entry{Kind: eventlog.KindSignalSent, Container: key, Target: target, Code: int64(signal)})
}

// executed writes that an allowed process is about to run, when rule is empty, or else what went wrong with it.
func (s *Sandbox) executed(key string, d *gate.Decision, args []string, rule string) {
	digest := identity.ArgsDigest(args)
	e := eventlog.Entry{Kind: eventlog.KindExecStarted, Container: key, Digest: digest[:], Decision: d.ID, Rule: rule}
	if rule != "" {
		e.Kind = eventlog.KindExecFailed
	}
	s.event(e)
}

// watchExit writes when the container's first process ends; afterwards c.exitLogged is closed.
func (s *Sandbox) watchExit(c *Container) {
	c.exitLogged = make(chan struct{})
	go func() {
		defer close(c.exitLogged)
		<-c.init.Done()
		code, _ := c.init.Wait(context.Background()) // it has ended
		s.event(eventlog.Entry{Kind: eventlog.KindContainerExited, Container: c.Key, Code: int64(code)})
	}()
}
