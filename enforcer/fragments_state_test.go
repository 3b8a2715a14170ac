package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/cose"
	"github.com/cloister-cc/cloister/cose/cosetest"
	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/fragment"
)

// parameterized has one container whose layer and command are the policy's to choose.
func parameterized(t testing.TB) string {
	list := containersText(t, layered("LAYER"))
	list = strings.Replace(list, `"LAYER"`, `parameter("layer")`, 1)
	list = strings.Replace(list, `["/bin/web","--serve"]`, `["/bin/web", parameter("mode")]`, 1)
	return fragmentText(`parameters_api := {"layer": {"description": "the image"}, "mode": {"default": "--serve"}}`, "containers := "+list)
}

func TestFragmentParameters(t *testing.T) {
	given := func(parameters map[string]any) allowance {
		return allowFragment(did(), "containers").with("parameters", parameters)
	}
	command := func(e *enforcer.Enforcer, n int, mode string) error {
		allow(t, e, enforcer.MountDeviceInput{Target: target(n), DeviceHash: root(n), MountPathRegex: scsi})
		id := fmt.Sprintf("%064d", n)
		allow(t, e, enforcer.MountOverlayInput{ContainerID: id, LayerPaths: []string{target(n)}, Target: "/run/gcs/c/" + id + "/rootfs"})
		in := request(id)
		in.ArgList = []string{"/bin/web", mode}
		_, err := e.Decide(context.Background(), in)
		return err
	}
	t.Run("default", func(t *testing.T) {
		e := loadPolicy(t, fragmentPolicy(t, []allowance{given(map[string]any{"layer": root(1)})}))
		loadFragment(t, e, signed(t, parameterized(t)))
		if err := command(e, 1, "--serve"); err != nil {
			t.Error(err)
		}
	})
	t.Run("several", func(t *testing.T) {
		e := loadPolicy(t, fragmentPolicy(t, []allowance{
			given(map[string]any{"layer": root(1), "mode": "--one"}), given(map[string]any{"layer": root(2), "mode": "--two"}),
			given(map[string]any{"layer": root(1), "mode": "--one"}),
		}))
		loadFragment(t, e, signed(t, parameterized(t)))
		for n, mode := range map[int]string{1: "--one", 2: "--two"} {
			if err := command(e, n, mode); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("not-mixed", func(t *testing.T) {
		e := loadPolicy(t, fragmentPolicy(t, []allowance{
			given(map[string]any{"layer": root(1), "mode": "--one"}), given(map[string]any{"layer": root(2), "mode": "--two"}),
		}))
		loadFragment(t, e, signed(t, parameterized(t)))
		if err := command(e, 1, "--two"); err == nil {
			t.Error("a container of one set has the other's command")
		}
	})
	t.Run("missing", func(t *testing.T) {
		// Without a value the list is undefined, which is an empty one.
		e := loadPolicy(t, fragmentPolicy(t, []allowance{given(map[string]any{"mode": "x"})}))
		loadFragment(t, e, signed(t, parameterized(t)))
		if knows(t, e, root(1)) {
			t.Error("a container without its parameter is there")
		}
	})
	t.Run("false-is-a-value", func(t *testing.T) {
		text := fragmentText(`parameters_api := {"on": {"default": true}}`, `platform_rules := [{"env_rules": [{"pattern": "ON=1", "strategy": "string", "required": parameter("on")}], "mounts": []}]`)
		e := loadPolicy(t, policyText(t, []testContainer{web()})+"fragments := "+
			jsonText(t, []allowance{allowFragment(did(), "platform_rules").with("parameters", map[string]any{"on": false})}))
		loadFragment(t, e, signed(t, text))
		mountImage(t, e, idA, 1)
		allow(t, e, request(idA))
	})
	t.Run("text-is-no-code", func(t *testing.T) {
		e := loadPolicy(t, fragmentPolicy(t, []allowance{given(map[string]any{"layer": `x" } svn := "2`, "\"]\n": "\\"})}))
		loadFragment(t, e, signed(t, parameterized(t)))
	})
	t.Run("includes-by-set", func(t *testing.T) {
		// What an entry includes holds for its own parameters only.
		e := loadPolicy(t, fragmentPolicy(t, []allowance{
			given(map[string]any{"layer": root(1)}), given(map[string]any{"layer": root(2)}).with("includes", []string{"fragments"}),
		}))
		loadFragment(t, e, signed(t, parameterized(t)))
		if !knows(t, e, root(1)) || knows(t, e, root(2)) {
			t.Error("want the container of the first set alone")
		}
	})
}

// TestFragmentMayNotAnswerForItsParameters: what the policy gave is not the fragment's to say.
func TestFragmentMayNotAnswerForItsParameters(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers").with("parameters", map[string]any{"layer": root(1)})}))
	for _, rule := range []string{
		`parameter(name) := "x" if name == "layer"`, `parameter := 1`, `__fragment_parameters := {"layer": "y"}`,
		`__fragment_parameters.layer := "y"`, `__fragment_parameters contains "x"`, `default parameter(_) := 1`,
	} {
		refuseFragment(t, e, signed(t, fragmentText(rule)), "fragment is not valid Rego: it defines ...")
	}
}

// TestFragmentLoadIsAtomic: what the first set of parameters added is not there when the second is refused.
func TestFragmentLoadIsAtomic(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{
		allowFragment(did(), "containers").with("parameters", map[string]any{"svn": 1, "layer": root(1)}),
		allowFragment(did(), "containers").with("parameters", map[string]any{"svn": 0, "layer": root(2)}),
	}))
	text := "package infra\nframework_version := \"0.5.0\"\nsvn := parameter(\"svn\")\ncontainers := " +
		strings.Replace(containersText(t, layered("LAYER")), `"LAYER"`, `parameter("layer")`, 1)
	refuseFragment(t, e, signed(t, text), "fragment svn is below the specified minimum")
	if knows(t, e, root(1)) {
		t.Error("half a fragment is there")
	}
	d, err := e.LoadFragment(context.Background(), signed(t, strings.Replace(text, `parameter("svn")`, "1", 1)), "")
	if err != nil {
		t.Fatal(err)
	}
	if knows(t, e, root(1)) {
		t.Error("a fragment is there before its decision is committed")
	}
	if _, err := d.Commit(); err != nil || !knows(t, e, root(1)) || !knows(t, e, root(2)) {
		t.Errorf("got %v, want both containers", err)
	}
}

// namespacePolicy asks the fragment's own rule.
func namespacePolicy(t testing.TB, allowed ...allowance) string {
	return replaceOnce(t, fragmentPolicy(t, allowed), "get_properties := data.framework.get_properties", `get_properties := {"allowed": data.infra.open}`)
}

func TestFragmentNamespace(t *testing.T) {
	in := enforcer.GetPropertiesInput{}
	keep := allowFragment(did(), "namespace")
	closed := func(e *enforcer.Enforcer) {
		t.Helper()
		if _, err := e.Decide(context.Background(), in); err == nil {
			t.Error("a rule of a fragment that is not loaded allows")
		}
	}
	t.Run("stays", func(t *testing.T) {
		e := loadPolicy(t, namespacePolicy(t, keep))
		closed(e)
		undo := loadFragment(t, e, signed(t, fragmentText("open if count([x | some x in [1, 2]]) == 2")))
		allow(t, e, in)
		undo()
		closed(e)
	})
	t.Run("goes", func(t *testing.T) {
		e := loadPolicy(t, namespacePolicy(t, allowFragment(did(), "containers")))
		loadFragment(t, e, signed(t, fragmentText("open := true")))
		closed(e)
	})
	t.Run("parameter", func(t *testing.T) {
		e := loadPolicy(t, namespacePolicy(t, keep.with("parameters", map[string]any{"open": true})))
		loadFragment(t, e, signed(t, fragmentText(`open := parameter("open")`)))
		allow(t, e, in)
	})
	t.Run("several-parameters", func(t *testing.T) {
		e := loadPolicy(t, namespacePolicy(t, keep.with("parameters", map[string]any{"a": 1}), keep.with("parameters", map[string]any{"a": 2})))
		refuseFragment(t, e, signed(t, fragmentText("open := true")), "fragment namespace is not allowed: the package cannot stay with 2 sets of parameters")
		closed(e)
	})
	t.Run("reads-the-policy", func(t *testing.T) {
		e := loadPolicy(t, namespacePolicy(t, keep)+"allow_dump_stacks := true\n")
		loadFragment(t, e, signed(t, fragmentText("open if data.policy.allow_dump_stacks", "open if data.framework.fragments_loaded")))
		allow(t, e, in)
	})
	t.Run("another-issuer", func(t *testing.T) {
		other := cosetest.NewChain(t, cosetest.ChainOptions{})
		e := loadPolicy(t, namespacePolicy(t, keep, allowFragment(other.DID(t, "subject"), "containers")))
		loadFragment(t, e, signed(t, fragmentText("open := true")))
		refuseFragment(t, e, other.Document(t, []byte(fragmentText("containers := []")), testFeed, nil),
			"fragment namespace is not allowed: package infra is in use by another fragment")
		allow(t, e, in)
	})
	t.Run("newer-replaces", func(t *testing.T) {
		e := loadPolicy(t, namespacePolicy(t, keep))
		text := func(svn int, open bool) []byte {
			return signed(t, fmt.Sprintf("package infra\nsvn := %d\nframework_version := \"0.5.0\"\nopen := %v\n", svn, open))
		}
		loadFragment(t, e, text(2, true))
		refuseFragment(t, e, text(1, false), "fragment namespace is not allowed: package infra is in use by the same fragment with a higher SVN")
		loadFragment(t, e, text(2, true))
		allow(t, e, in)
		undo := loadFragment(t, e, text(3, false))
		refuse(t, e, in)
		undo()
		allow(t, e, in)
	})
	t.Run("undone-after-another", func(t *testing.T) {
		e := loadPolicy(t, namespacePolicy(t, keep, keep.with("feed", "other")))
		undo := loadFragment(t, e, signed(t, fragmentText("open := true")))
		loadFragment(t, e, sign(t, first(issuer()), strings.Replace(fragmentText("x := 1"), "infra", "second", 1), cose.SignOptions{Feed: "other"}))
		undo()
		// Both are in the issuer's one entry of the state: taking the first back would have to guess what the second rests on.
		if _, err := e.Decide(context.Background(), in); !errors.Is(err, enforcer.ErrInconsistent) {
			t.Errorf("got %v, want %v", err, enforcer.ErrInconsistent)
		}
	})
	t.Run("undone-after-another-issuer", func(t *testing.T) {
		other := cosetest.NewChain(t, cosetest.ChainOptions{})
		e := loadPolicy(t, replaceOnce(t, namespacePolicy(t, keep, allowFragment(other.DID(t, "subject"), "namespace")),
			"dump_stacks := data.framework.dump_stacks", `dump_stacks := {"allowed": data.second.x}`))
		undo := loadFragment(t, e, signed(t, fragmentText("open := true")))
		loadFragment(t, e, other.Document(t, []byte(strings.Replace(fragmentText("x := true"), "infra", "second", 1)), testFeed, nil))
		_ = undo
		allow(t, e, enforcer.DumpStacksInput{})
		allow(t, e, in)
	})
}

// TestFragmentCannotReachOthers: a fragment's rules are in its own package and nowhere else, also while it is read.
func TestFragmentCannotReachOthers(t *testing.T) {
	for _, c := range []struct{ name, text, reason string }{
		{"framework", "package framework\nversion := \"9.0.0\"\n", "fragment namespace is not allowed: package framework is the agent's"},
		{"api", "package api\n", "fragment namespace is not allowed: package api is the agent's"},
		{"policy", "package policy\ncreate_container := {\"allowed\": true}\n", "fragment namespace is not allowed: package policy is the agent's"},
		{"metadata", "package metadata\nstarted := {}\n", "fragment namespace is not allowed: package metadata is the agent's"},
		{"agents-document", "package defaultMounts\n", "fragment namespace is not allowed: package defaultMounts is the agent's"},
		{"comment", "package #x\nframework\n", "fragment namespace is not allowed: the first line..."},
		{"second-package", "package infra\npackage framework\n", "fragment is not valid Rego: parse..."},
		{"dotted", "package infra.framework\n", "fragment namespace is not allowed: the first line..."},
		{"carriage-return", "package infra\rpackage framework\n", "fragment namespace is not allowed: the first line..."},
		{"builtin", fragmentText(`x := http.send({"method": "get", "url": "http://x"})`), "fragment is not valid Rego: compile..."},
		{"clock", fragmentText(`x := time.now_ns()`), "fragment is not valid Rego: compile..."},
		{"environment", fragmentText(`x := opa.runtime()`), "fragment is not valid Rego: compile..."},
		{"conflict", fragmentText(`containers := []`, `containers := [1] if true`), "fragment cannot be evaluated: containers..."},
		{"deep", fragmentText("x := " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000)), "fragment is not valid Rego: brackets..."},
		{"recursion", fragmentText("x := y", "y := x"), "fragment is not valid Rego: compile..."},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers", "namespace")}))
			refuseFragment(t, e, signed(t, c.text), c.reason)
		})
	}
}

func TestFragmentReceipts(t *testing.T) {
	inOneGoroutine(t)
	one, two, unknown := cosetest.NewLedger(t, "one.example", cosetest.P384), cosetest.NewLedger(t, "two.example", cosetest.P256), cosetest.NewLedger(t, "unknown.example", cosetest.P256)
	impostor := cosetest.NewLedger(t, "one.example", cosetest.P384)
	plain := signed(t, fragmentText("containers := []"))
	lists := []allowance{
		{"issuer": did(), "subject": "public", "minimum_svn": 1, "allowed_ledgers": []string{"one.example", "two.example"}},
		{"issuer": did(), "subject": "other", "minimum_svn": 1, "allowed_ledgers": []string{"*"}},
	}
	for _, c := range []struct {
		name     string
		required any
		document []byte
		missing  []string
	}{
		{"none-required", []string{}, plain, nil},
		{"ledger", []string{"one.example"}, cosetest.Register(t, plain, one), nil},
		{"ledger-absent", []string{"one.example"}, plain, []string{"one.example"}},
		{"other-ledger", []string{"one.example"}, cosetest.Register(t, plain, two), []string{"one.example"}},
		{"untrusted-ledger", []string{"unknown.example"}, cosetest.Register(t, plain, unknown), []string{"unknown.example"}},
		{"impostor", []string{"one.example"}, cosetest.Register(t, plain, impostor), []string{"one.example"}},
		{"any", []string{"*"}, cosetest.Register(t, plain, two), nil},
		{"any-absent", []string{"*"}, plain, []string{"*"}},
		{"any-untrusted", []string{"*"}, cosetest.Register(t, plain, unknown, impostor), []string{"*"}},
		{"subject", []string{"TTL:public"}, cosetest.Register(t, plain, two), nil},
		{"subject-other", []string{"TTL:other"}, cosetest.Register(t, plain, two), []string{"TTL:other"}},
		{"all", []string{"one.example", "TTL:public", "*"}, cosetest.Register(t, plain, unknown, one), nil},
		{"all-but-one", []string{"one.example", "two.example", "TTL:public"}, cosetest.Register(t, plain, one), []string{"two.example"}},
		{"not-a-list", "one.example", cosetest.Register(t, plain, one), []string{}},
		{"null", nil, cosetest.Register(t, plain, one), []string{}},
		{"other-fragments-receipt", []string{"one.example"}, withReceipt(t, plain, one.Receipt(t, signed(t, fragmentText()))), []string{"one.example"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers").with("required_receipts", c.required)},
				"transparency_trust_lists := "+jsonText(t, lists)))
			loadDocument(t, e, first(issuer()).TrustList(t, "public", 1, one, two, unknown), fragment.MediaTypeTrustList)
			if c.missing == nil {
				loadFragment(t, e, c.document)
				return
			}
			reasons := []string{}
			for _, m := range c.missing {
				reasons = append(reasons, "missing receipt from "+m)
			}
			refuseFragment(t, e, c.document, reasons...)
		})
	}
}

func withReceipt(t testing.TB, document, receipt []byte) []byte {
	t.Helper()
	raw, err := cose.WithReceipts(document, receipt)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTrustLists(t *testing.T) {
	c := first(issuer())
	ledger, newKey := cosetest.NewLedger(t, "one.example", cosetest.P256), cosetest.NewLedger(t, "one.example", cosetest.P256)
	other := cosetest.NewLedger(t, "two.example", cosetest.P256)
	allowed := allowance{"issuer": did(), "subject": "public", "minimum_svn": 2, "allowed_ledgers": []string{"one.example"}}
	policy := func(lists ...allowance) *enforcer.Enforcer {
		return loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "transparency_trust_lists").with("required_receipts", []string{"one.example"})},
			"transparency_trust_lists := "+jsonText(t, lists)))
	}
	registered := cosetest.Register(t, signed(t, fragmentText("x := 1")), ledger)
	refuseList := func(e *enforcer.Enforcer, document []byte, reason string) {
		t.Helper()
		d := refuseDocument(t, e, document, fragment.MediaTypeTrustList, reason)
		if d.Point != enforcer.PointLoadTransparencyTrustList {
			t.Errorf("got point %s", d.Point)
		}
	}
	t.Run("refused", func(t *testing.T) {
		e := policy(allowed)
		stranger := cosetest.NewChain(t, cosetest.ChainOptions{})
		refuseList(e, stranger.TrustList(t, "public", 2, ledger), "invalid transparency trust list issuer")
		refuseList(e, c.TrustList(t, "private", 2, ledger), "invalid transparency trust list subject")
		refuseList(e, c.TrustList(t, "public", 1, ledger), "transparency trust list svn is below the specified minimum")
		refuseList(e, c.TrustList(t, "public", 2, other), "no ledger of the transparency trust list is allowed")
		refuseList(e, c.Document(t, []byte("{}"), "public", new(int64)), "transparency trust list is malformed...")
		refuseList(e, []byte("x"), "fragment is not a signed document...")
		refuseFragment(t, e, registered, "missing receipt from one.example")
	})
	t.Run("undo", func(t *testing.T) {
		e := policy(allowed)
		undo := loadDocument(t, e, c.TrustList(t, "public", 2, ledger), fragment.MediaTypeTrustList)
		loadFragment(t, e, registered)
		undo()
		refuseFragment(t, e, registered, "missing receipt from one.example")
	})
	t.Run("newer-replaces", func(t *testing.T) {
		e := policy(allowed)
		loadDocument(t, e, c.TrustList(t, "public", 3, ledger), fragment.MediaTypeTrustList)
		loadDocument(t, e, c.TrustList(t, "public", 4, newKey), fragment.MediaTypeTrustList)
		refuseFragment(t, e, registered, "missing receipt from one.example")
		refuseList(e, c.TrustList(t, "public", 3, ledger), "transparency trust list is older than the one that is loaded: got svn 3, want at least 4")
	})
	t.Run("restricted", func(t *testing.T) {
		// Only the allowed ledgers' keys count, whatever else the list has.
		e := policy(allowed.with("allowed_ledgers", []string{"two.example"}))
		loadDocument(t, e, c.TrustList(t, "public", 2, ledger, other), fragment.MediaTypeTrustList)
		refuseFragment(t, e, registered, "missing receipt from one.example")
	})
	t.Run("from-a-fragment", func(t *testing.T) {
		e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "transparency_trust_lists")}))
		refuseList(e, c.TrustList(t, "public", 2, ledger), "invalid transparency trust list issuer")
		loadFragment(t, e, signed(t, fragmentText("transparency_trust_lists := "+jsonText(t, []allowance{allowed}))))
		loadDocument(t, e, c.TrustList(t, "public", 2, ledger), fragment.MediaTypeTrustList)
	})
	t.Run("older-policy", func(t *testing.T) {
		text := replaceOnce(t, fragmentPolicy(t, nil, "transparency_trust_lists := "+jsonText(t, []allowance{allowed})), `"0.5.0"`, `"0.4.1"`)
		refuseList(loadPolicy(t, text), c.TrustList(t, "public", 2, ledger), "invalid transparency trust list issuer")
	})
}

func TestFragmentPlatformRules(t *testing.T) {
	rule := func(name string) string {
		return `{"env_rules": [{"pattern": "` + name + `=.*", "strategy": "re2", "required": false}], "mounts": []}`
	}
	e := loadPolicy(t, policyText(t, []testContainer{web()})+"fragments := "+jsonText(t, []allowance{allowFragment(did(), "platform_rules")}))
	env := func(names ...string) enforcer.CreateContainerInput {
		in := request(idA)
		for _, name := range names {
			in.EnvList = append(in.EnvList, name+"=1")
		}
		return in
	}
	loadFragment(t, e, signed(t, fragmentText("platform_rules := ["+rule("ONE")+", "+rule("TWO")+"]")))
	mountImage(t, e, idA, 1)
	refuse(t, e, env("ONE", "TWO"), "invalid env list")
	refuse(t, e, env("THREE"), "invalid env list", "invalid env list: THREE")
	allow(t, e, env("TWO"))
}

// TestFragmentRollback: a load that is taken back was never there.
func TestFragmentRollback(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}))
	document := signed(t, fragmentText("containers := "+containersText(t, layered(root(1)))))
	undo := loadFragment(t, e, document)
	allow(t, e, enforcer.ScratchMountInput{Target: "/run/gcs/c/x/scratch/x", Encrypted: true})
	undo()
	if knows(t, e, root(1)) {
		t.Error("the fragment's container is still known")
	}
	loadFragment(t, e, document)
	if !knows(t, e, root(1)) {
		t.Error("the fragment cannot be loaded again")
	}
}

// TestFragmentDeadline: a fragment whose issuer is right may still not occupy the agent.
func TestFragmentDeadline(t *testing.T) {
	opts := enforcer.Options{Judge: enforcer.JudgeOPA, EvalTimeout: 300 * time.Millisecond}
	for name, rule := range map[string]string{
		"endless":   "containers := [x | some x in numbers.range(1, 1000000000)]",
		"product":   "containers := [1 | some a in r; some b in r; some c in r; a + b + c == 0]\nr := numbers.range(1, 100000)",
		"explosion": "containers := [r | some a in r; some b in r]\nr := numbers.range(1, 20000)",
		"svn":       "count([1 | some a in numbers.range(1, 100000); some b in numbers.range(1, 100000); a + b == 0]) == 1",
	} {
		t.Run(name, func(t *testing.T) {
			e := load(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}), opts)
			text := fragmentText(rule)
			if name == "svn" {
				text = strings.Replace(text, "svn := 1\n", "", 1)
				text = strings.Replace(text, rule, "svn := 1 if "+rule, 1)
			}
			started := time.Now()
			refuseFragment(t, e, signed(t, text), "fragment cannot be evaluated: ...")
			if took := time.Since(started); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
			allow(t, e, enforcer.ScratchMountInput{Target: "x", Encrypted: true})
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		e := load(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}), opts)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := e.LoadFragment(ctx, signed(t, fragmentText()), ""); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
	})
}

// TestFragmentsLoadedTogether: of loads that were decided in one state one is committed, the others are asked again.
func TestFragmentsLoadedTogether(t *testing.T) {
	for _, judge := range []enforcer.JudgeName{enforcer.JudgeOPA, enforcer.JudgeAuto} {
		t.Run(string(judge), func(t *testing.T) {
			loadTogether(t, load(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers", "namespace")}), enforcer.Options{Judge: judge}))
		})
	}
}

func loadTogether(t *testing.T, e *enforcer.Enforcer) {
	const n = 6
	var wg sync.WaitGroup
	for i := range n {
		document := signed(t, strings.Replace(fragmentText("containers := "+containersText(t, layered(root(i)))), "infra", fmt.Sprintf("infra%d", i), 1))
		wg.Go(func() {
			for {
				d, err := e.LoadFragment(context.Background(), document, "")
				if err != nil {
					t.Error(err)
					return
				}
				if _, err = d.Commit(); err == nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range n {
		if !knows(t, e, root(i)) {
			t.Errorf("the container of fragment %d is not known", i)
		}
	}
}

func TestFragmentMediaTypes(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}))
	document := signed(t, fragmentText("containers := "+containersText(t, layered(root(1)))))
	loadDocument(t, e, document, fragment.MediaTypeRego)
	for _, mediaType := range []string{"application/json", "application/cose-x509+rego ", "Application/cose-x509+rego", strings.Repeat("x", 10000)} {
		refuseDocument(t, e, document, mediaType, "fragment media type is not known: got ...")
	}
	for _, mediaType := range []string{fragment.MediaTypeTCBReference, fragment.MediaTypePlatformReference} {
		stranger := cosetest.NewChain(t, cosetest.ChainOptions{})
		info := stranger.Document(t, []byte("whatever"), "feed", nil)
		refuseDocument(t, e, append([]byte(nil), info[:len(info)-1]...), mediaType, "fragment is not a signed document...")
		if e.ReferenceInfo(mediaType) != nil {
			t.Error("refused information is kept")
		}
		undo := loadDocument(t, e, info, mediaType)
		if string(e.ReferenceInfo(mediaType)) != string(info) {
			t.Error("information is not kept")
		}
		undo()
		if e.ReferenceInfo(mediaType) != nil {
			t.Error("information is kept after it was taken back")
		}
	}
	refuseFragment(t, e, make([]byte, enforcer.FragmentLimit+1), "fragment is too large: got 4194305 bytes, want at most 4194304")
	refuseFragment(t, e, nil, "fragment is not a signed document...")
}

// TestFragmentCustomPolicy: a policy that judges fragments by rules of its own reads the fragment's package itself.
func TestFragmentCustomPolicy(t *testing.T) {
	text := replaceOnce(t, fragmentPolicy(t, nil), "load_fragment := data.framework.load_fragment", `load_fragment := {"allowed": true, "add_module": true} if {
	input.issuer == "`+did()+`"
	input.fragment_loaded == false
} else := {"allowed": true, "add_module": true, "metadata": [{"name": "mine", "action": "add", "key": "k", "value": data[input.namespace].answer}]} if {
	input.issuer == "`+did()+`"
	data[input.namespace].answer == 42
}`)
	text = replaceOnce(t, text, "get_properties := data.framework.get_properties", `get_properties := {"allowed": data.infra.answer == data.metadata.mine.k}`)
	e := loadPolicy(t, text)
	loadFragment(t, e, signed(t, "package infra\nanswer := 42\n"))
	allow(t, e, enforcer.GetPropertiesInput{})
	e = loadPolicy(t, text)
	if _, err := e.LoadFragment(context.Background(), signed(t, "package infra\nanswer := 41\n"), ""); err == nil {
		t.Error("got no error, want a refusal")
	}
	loadFragment(t, loadPolicy(t, openDoor()), signed(t, "package infra\nanswer := 41\n"))
}

// TestFragmentOlderPolicy: an api version without fragments refuses them.
func TestFragmentOlderPolicy(t *testing.T) {
	text := "package policy\napi_version := \"0.8.0\"\nframework_version := \"0.1.0\"\nfragments := " + jsonText(t, []allowance{allowFragment(did(), "containers")})
	denial := refuseFragment(t, loadPolicy(t, text), signed(t, fragmentText()))
	if denial.Rule != "the policy is older than this point and does not allow it" {
		t.Errorf("got rule %q", denial.Rule)
	}
	refuseFragment(t, loadPolicy(t, strings.Replace(text, "0.8.0", "0.10.0", 1)), signed(t, fragmentText()), "rule for load_fragment is missing from policy")
}

// TestFragmentOldSyntax: fragments in use were written for Rego v0, like policies.
func TestFragmentOldSyntax(t *testing.T) {
	e := loadPolicy(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}))
	loadFragment(t, e, signed(t, "package infra\nsvn = \"1\"\nframework_version = \"0.5.0\"\nyes { true }\ncontainers = list { yes; list := "+containersText(t, layered(root(1)))+"}\n"))
	if !knows(t, e, root(1)) {
		t.Error("the fragment's container is not known")
	}
}
