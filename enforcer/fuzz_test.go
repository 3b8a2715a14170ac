package enforcer_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/aci"
)

// fuzzTextLimit keeps one run short; what lies above is the size limit's business.
const fuzzTextLimit = 1 << 14

// FuzzLoad: any text is either an enforcer or an error of one bounded line, what the compiled rules take the engine takes, and the
// judges agree about it.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/policies/*.rego")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(openDoor()))
	f.Add([]byte(metadataPolicy(`[{"name": "t", "action": "add", "key": "k", "value": {1}}]`, "true")))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > fuzzTextLimit {
			return
		}
		opts := enforcer.Options{EvalTimeout: 100 * time.Millisecond, Judge: enforcer.JudgeBoth}
		e, err := enforcer.Load(t.Context(), text, opts)
		if err != nil {
			if e != nil || len(err.Error()) > 2048 || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("got %v with %q", e, err)
			}
			opts.Judge = enforcer.JudgeCompiled
			if _, plain := enforcer.Load(t.Context(), text, opts); plain == nil {
				t.Errorf("the compiled rules load what the engine does not: %v", err)
			}
			return
		}
		for _, in := range []enforcer.Input{
			enforcer.MountDeviceInput{Target: target(1), DeviceHash: rootOne, MountPathRegex: scsi},
			request(idA),
			enforcer.RuntimeLoggingInput{},
		} {
			checkAnswer(t, e, in)
		}
	})
}

// fuzzedPod has an overlay for idA, and for idB a container that runs, of an image that many definitions share.
func fuzzedPod(f *testing.F, opts enforcer.Options, flags ...string) *enforcer.Enforcer {
	f.Helper()
	elevated, strict, small := web(), web(), web()
	elevated.AllowElevated, elevated.Capabilities = true, nil
	strict.NoNewPrivs, strict.User.UserIDName = true, testPattern{Pattern: "ro+t", Strategy: "re2"}
	small.EnvRules, small.Mounts = small.EnvRules[:1], nil
	list := []testContainer{web(), elevated, strict, small}
	for i := range 9 {
		other := web()
		other.Command = append(other.Command, strconv.Itoa(i))
		list = append(list, other)
	}
	e := both(f, policyText(f, list, flags...)+external, opts)
	mountImage(f, e, idA, 1)
	allow(f, e, overlay(idB, 1))
	allow(f, e, request(idB))
	return e
}

// FuzzDecide: a request of any content gets an answer that only takes away, a refusal changes nothing, and the judges agree.
func FuzzDecide(f *testing.F) {
	var inputs []string
	for i, row := range enforcer.Points() {
		data, err := os.ReadFile(filepath.Join("rego", "testdata", "inputs", string(row.Point)+".json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), data)
		inputs = append(inputs, string(row.Point))
	}
	for _, row := range contractPoints() {
		if row.in == nil {
			continue
		}
		data, err := json.Marshal(row.in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(slices.Index(inputs, string(row.point))), data)
	}
	// The enforcers are shared by all runs: each run undoes what it committed.
	opts := enforcer.Options{DefaultMounts: aci.DefaultMounts(), PrivilegedMounts: aci.PrivilegedMounts(), EvalTimeout: 2 * time.Second}
	enforcers := []*enforcer.Enforcer{
		fuzzedPod(f, opts), fuzzedPod(f, opts, envFlag, capsFlag, "allow_unencrypted_scratch"), load(f, openDoor(), opts),
	}
	f.Fuzz(func(t *testing.T, n uint8, data []byte) {
		if len(data) > fuzzTextLimit {
			return
		}
		rows := enforcer.Points()
		in, err := enforcer.DecodeInput(rows[int(n)%len(rows)].Point, data)
		if err != nil {
			return
		}
		for _, e := range enforcers {
			checkAnswer(t, e, in)
		}
	})
}

func checkAnswer(t *testing.T, e *enforcer.Enforcer, in enforcer.Input) {
	t.Helper()
	ctx := context.Background()
	d, err := e.Decide(ctx, in)
	if errors.Is(err, enforcer.ErrJudgesDisagree) {
		t.Fatalf("%s: %v", in.Point(), err)
	}
	if errors.Is(err, enforcer.ErrDeadline) {
		return
	}
	if err != nil {
		if d != nil {
			t.Errorf("%s: got a decision with error %v", in.Point(), err)
		}
		checkDenial(t, err)
		// The same question gets the same answer: the refusal changed nothing.
		if _, again := e.Decide(ctx, in); again == nil {
			t.Errorf("%s: refused with %v, then allowed", in.Point(), err)
		}
		return
	}
	checkOnlyTakesAway(t, d, in)
	undo, err := d.Commit()
	if err != nil {
		t.Fatalf("%s: %v", in.Point(), err)
	}
	undo()
	if _, err := e.Decide(ctx, in); err != nil {
		t.Errorf("%s: allowed, then refused after undo: %v", in.Point(), err)
	}
}

func checkDenial(t *testing.T, err error) {
	t.Helper()
	var denial *enforcer.Denial
	if !errors.As(err, &denial) {
		return
	}
	text := denial.Error()
	if len(text) > 448 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("got refusal %q", text)
	}
	if long := denial.PolicyDecision(); len(long) > 3*1024 {
		t.Errorf("got %d characters", len(long))
	}
}

func checkOnlyTakesAway(t *testing.T, d *enforcer.Decision, in enforcer.Input) {
	t.Helper()
	var env []string
	var caps enforcer.Capabilities
	switch in := in.(type) {
	case enforcer.CreateContainerInput:
		env, caps = in.EnvList, in.Capabilities
	case enforcer.ExecInContainerInput:
		env, caps = in.EnvList, in.Capabilities
	case enforcer.ExecExternalInput:
		env = in.EnvList
	default:
		return
	}
	if !isSubsequence(d.Env, env) {
		t.Errorf("got env %q of %q", d.Env, env)
	}
	if c := d.Capabilities; c != nil {
		for _, pair := range [][2][]string{
			{c.Bounding, caps.Bounding},
			{c.Effective, caps.Effective},
			{c.Inheritable, caps.Inheritable},
			{c.Permitted, caps.Permitted},
			{c.Ambient, caps.Ambient},
		} {
			if !isSubsequence(pair[0], pair[1]) {
				t.Errorf("got capabilities %q of %q", pair[0], pair[1])
			}
		}
	}
}

func isSubsequence(part, whole []string) bool {
	for _, s := range whole {
		if len(part) > 0 && part[0] == s {
			part = part[1:]
		}
	}
	return len(part) == 0
}
