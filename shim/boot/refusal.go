package boot

import (
	"errors"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Refusal is a policy decision as a person should read it.
type Refusal struct {
	// Request is the message that was refused, Point the question that was put to the policy.
	Request, Point string
	// Sentence is the agent's own line.
	Sentence string
	// Decision names the decision in the agent's log; empty when the agent gave none.
	Decision string
	// Next says what to do about it.
	Next string
}

// refusalForm is the agent's line: `<RequestMessage> is blocked by policy: <point>: <rule>: <field>[, container <name>] [decision <id>]`.
var (
	refusalForm  = regexp.MustCompile(`([A-Za-z]+) is blocked by policy: (?:([a-z0-9_]+):)?`)
	decisionForm = regexp.MustCompile(`\[decision ([A-Za-z0-9_.-]+)\]`)
)

// AsRefusal finds the refusal in an error's chain.
func AsRefusal(err error) (Refusal, bool) {
	st := statusOf(err)
	if st == nil || st.Code() != codes.PermissionDenied {
		return Refusal{}, false
	}
	// ACI's policyDecision follows after a newline where the policy allows logging; it is for programs.
	sentence, _, _ := strings.Cut(st.Message(), "\n")
	r := Refusal{Sentence: sentence}
	if m := refusalForm.FindStringSubmatch(sentence); m != nil {
		r.Request, r.Point = m[1], m[2]
	}
	if m := decisionForm.FindStringSubmatch(sentence); m != nil {
		r.Decision = m[1]
	}
	r.Next = nextStep(r)
	return r, true
}

// statusOf finds the first status error in a tree of errors, also in those that errors.Join made.
func statusOf(err error) *status.Status {
	for err != nil {
		if s, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
			return s.GRPCStatus()
		}
		if many, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range many.Unwrap() {
				if st := statusOf(one); st != nil {
					return st
				}
			}
			return nil
		}
		err = errors.Unwrap(err)
	}
	return nil
}

// nextStep is one sentence a kind of refusal.
func nextStep(r Refusal) string {
	switch {
	case r.Request == "SetPolicyRequest" && strings.Contains(r.Sentence, "already bound"):
		return "a VM keeps the policy it was launched for; boot another VM for another policy"
	case r.Request == "SetPolicyRequest" && strings.Contains(r.Sentence, "no SEV-SNP report device"):
		return "the guest has no report device, so it can bind no policy: launch with SNP, or with the emulated processor and a guest image built with --dev"
	case r.Request == "SetPolicyRequest":
		return "the VM was launched for another policy: launch with the policy whose SHA-256 is its HOST_DATA"
	}
	switch r.Point {
	case "mount_device":
		return "a layer is not one the policy names: the image is another than the policy was made for, or the disk was changed; " +
			"compare the disk with `cloister layer verify`, or make the policy from the image you mean"
	case "mount_overlay":
		return "no container of the policy has these layers in this order: make the policy from the pod and images you run"
	case "create_container":
		return "the container is not as the policy says in what is named above: change the pod, or make the policy anew with " +
			"`cloister policy generate`"
	case "exec_in_container":
		return "list the command in the pod's io.cloister.exec/CONTAINER annotation and make the policy anew, or run a command it lists"
	}
	return "the policy has to allow this; make it anew if it should"
}
