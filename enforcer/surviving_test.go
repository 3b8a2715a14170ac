package enforcer_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
)

// entriesOf is what may be left of a container, as text: the index, of a fragment's entry after its SVN.
func entriesOf(t testing.TB, e *enforcer.Enforcer, id string) string {
	t.Helper()
	s, err := e.Surviving(id)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, x := range s.Entries {
		text := fmt.Sprint(x.Index)
		if x.Fragment != nil {
			text = x.Fragment.SVN + ":" + text
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

// eachJudge runs a test with the compiled rules, the engine, and both, which compare what they say.
func eachJudge(t *testing.T, test func(t *testing.T, judge enforcer.JudgeName)) {
	for _, judge := range []enforcer.JudgeName{enforcer.JudgeCompiled, enforcer.JudgeOPA, enforcer.JudgeBoth} {
		t.Run(string(judge), func(t *testing.T) { test(t, judge) })
	}
}

// twins are five containers: another image, three that a create with MODE=a leaves, and one with another command. Of the three, the second and
// third may run ls, and the second is written twice.
func twins() []testContainer {
	other, first, second, third, command := web(), web(), web(), web(), web()
	other.Layers = []string{rootOne}
	first.ExecProcesses = []testProcess{}
	third.EnvRules = third.EnvRules[:1]
	third.EnvRules = append(third.EnvRules, testEnv{Pattern: "MODE=a", Strategy: "string"})
	command.Command = []string{"/bin/other"}
	return []testContainer{other, first, second, third, command, second}
}

func TestSurvivingEntriesBecomeFewer(t *testing.T) {
	eachJudge(t, func(t *testing.T, judge enforcer.JudgeName) {
		e := load(t, policyText(t, twins()), enforcer.Options{Judge: judge})
		missing := func(when string) {
			t.Helper()
			if s, err := e.Surviving(idA); !errors.Is(err, enforcer.ErrNoContainer) {
				t.Errorf("%s: got %v, %v, want ErrNoContainer", when, s, err)
			}
		}
		missing("before anything")
		mountImage(t, e, idA, 1)
		missing("with an overlay and no create")
		d, err := e.Decide(context.Background(), request(idA))
		if err != nil {
			t.Fatal(err)
		}
		missing("decided and not committed")
		undo, err := d.Commit()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := entriesOf(t, e, idA), "1 2 3 5"; got != want {
			t.Errorf("created: got entries %s, want %s", got, want)
		}
		undo()
		missing("taken back")
		allow(t, e, request(idA))
		_, undo = allow(t, e, execRequest(idA))
		if got, want := entriesOf(t, e, idA), "2 3 5"; got != want {
			t.Errorf("after an exec: got entries %s, want %s", got, want)
		}
		undo()
		if got, want := entriesOf(t, e, idA), "1 2 3 5"; got != want {
			t.Errorf("exec taken back: got entries %s, want %s", got, want)
		}
		in := execRequest(idA)
		in.EnvList = []string{"PATH=/bin", "MODE=b"}
		allow(t, e, in)
		if got, want := entriesOf(t, e, idA), "2 5"; got != want {
			t.Errorf("after an exec with another variable: got entries %s, want %s", got, want)
		}
		refuse(t, e, enforcer.ExecInContainerInput{ContainerID: idA, ArgList: []string{"/bin/sh"}, WorkingDir: "/srv", Umask: "0022"}, "invalid command")
		if got, want := entriesOf(t, e, idA), "2 5"; got != want {
			t.Errorf("after a refused exec: got entries %s, want %s", got, want)
		}
		allow(t, e, enforcer.ShutdownContainerInput{ContainerID: idA})
		missing("shut down")
	})
}

// TestSurvivingOfAnOldPolicy: containers that this framework does not take have their place in the list all the same.
func TestSurvivingOfAnOldPolicy(t *testing.T) {
	incomplete := `{"name": "x", "layers": ["` + rootOne + `", "` + rootTwo + `"]}`
	text := policyText(t, []testContainer{web()})
	text = strings.Replace(text, `framework_version := "0.5.0"`, `framework_version := "0.4.0"`, 1)
	text = strings.Replace(text, "containers := [", "containers := ["+incomplete+", ", 1)
	eachJudge(t, func(t *testing.T, judge enforcer.JudgeName) {
		e := load(t, text, enforcer.Options{Judge: judge})
		mountImage(t, e, idA, 1)
		allow(t, e, request(idA))
		if got, want := entriesOf(t, e, idA), "1"; got != want {
			t.Errorf("got entries %s, want %s", got, want)
		}
	})
}

func TestSurvivingOfFragments(t *testing.T) {
	list := containersText(t, web())
	old := `[{"name": "incomplete", "layers": []}, ` + strings.TrimPrefix(list, "[")
	eachJudge(t, func(t *testing.T, judge enforcer.JudgeName) {
		e := load(t, policyText(t, []testContainer{layered(rootOne), web()})+"fragments := "+
			jsonText(t, []allowance{allowFragment(did(), "containers")}), enforcer.Options{Judge: judge})
		create := func(n int, want string) string {
			t.Helper()
			id := fmt.Sprintf("%064d", n)
			mountImage(t, e, id, 2*n)
			allow(t, e, request(id))
			if got := entriesOf(t, e, id); got != want {
				t.Errorf("container %d: got entries %s, want %s", n, got, want)
			}
			return id
		}
		before := create(1, "1")
		text := strings.Replace(fragmentText("containers := "+old), `"0.5.0"`, `"0.4.0"`, 1)
		loadFragment(t, e, signed(t, text))
		between := create(2, "1 1:1")
		loadFragment(t, e, signed(t, strings.Replace(fragmentText("containers := "+list), "svn := 1", `svn := "7"`, 1)))
		create(3, "1 1:1 7:0")
		// What was loaded later is nothing that the earlier containers can be.
		if a, b := entriesOf(t, e, before), entriesOf(t, e, between); a != "1" || b != "1 1:1" {
			t.Errorf("after further fragments: got entries %q and %q", a, b)
		}
		s, err := e.Surviving(between)
		if err != nil {
			t.Fatal(err)
		}
		f := s.Entries[1].Fragment
		if f.Issuer != did() || f.Feed != testFeed || f.Digest != sha256.Sum256([]byte(text)) {
			t.Errorf("got fragment %+v, want the first that was loaded", f)
		}
	})
}

// TestSurvivingOfTakenBackFragments: the entries of a fragment that was taken back name nothing.
func TestSurvivingOfTakenBackFragments(t *testing.T) {
	eachJudge(t, func(t *testing.T, judge enforcer.JudgeName) {
		e := load(t, policyText(t, []testContainer{})+"fragments := "+jsonText(t, []allowance{allowFragment(did(), "containers")}), enforcer.Options{Judge: judge})
		first := signed(t, strings.Replace(fragmentText("containers := "+containersText(t, web())), "svn := 1", "svn := 1 # first", 1))
		second := strings.Replace(fragmentText("containers := "+containersText(t, web())), "svn := 1", "svn := 2", 1)
		loadFragment(t, e, first)()
		undo := loadFragment(t, e, first)
		allow(t, e, enforcer.ScratchMountInput{Target: "/run/gcs/c/x/scratch", Encrypted: true})
		undo() // with a change in between, which stays
		loadFragment(t, e, signed(t, second))
		mountImage(t, e, idA, 1)
		allow(t, e, request(idA))
		if got := entriesOf(t, e, idA); got != "2:0" {
			t.Errorf("got entries %s, want those of the second", got)
		}
	})
}

func TestSurvivingWithPlatformRules(t *testing.T) {
	bare := web()
	bare.EnvRules = bare.EnvRules[:1]
	rules := `platform_rules := [{"env_rules": [{"pattern": "MODE=a", "strategy": "string", "required": false}], "mounts": []}, {"env_rules": [], "mounts": []}]`
	eachJudge(t, func(t *testing.T, judge enforcer.JudgeName) {
		e := load(t, policyText(t, []testContainer{layered(rootOne), web(), bare})+rules+"\n", enforcer.Options{Judge: judge})
		mountImage(t, e, idA, 1)
		allow(t, e, request(idA))
		if got, want := entriesOf(t, e, idA), "1 2"; got != want {
			t.Errorf("got entries %s, want %s", got, want)
		}
	})
}

func TestSurvivingIsNeverGuessed(t *testing.T) {
	plain := policyText(t, []testContainer{web()})
	const create = "create_container := data.framework.create_container\n"
	for name, text := range map[string]string{
		"own-create": replaceOnce(t, plain, create, `create_container := data.framework.create_container if { count(input.argList) > 0 }`+"\n"),
		"own-state": replaceOnce(t, plain, "get_properties := data.framework.get_properties\n",
			`get_properties := {"allowed": true, "metadata": [{"name": "matches", "action": "update", "key": "`+idA+`", "value": []}]}`+"\n"),
		"every-exec": replaceOnce(t, replaceOnce(t, plain, "exec_in_container := data.framework.exec_in_container\n", ""),
			`api_version := "0.12.0"`, `api_version := "0.1.0"`),
	} {
		for _, judge := range []enforcer.JudgeName{enforcer.JudgeAuto, enforcer.JudgeOPA} {
			e := load(t, text, enforcer.Options{Judge: judge})
			mountImage(t, e, idA, 1)
			allow(t, e, request(idA))
			if s, err := e.Surviving(idA); !errors.Is(err, enforcer.ErrEntriesUnknown) {
				t.Errorf("%s, %s: got %v, %v, want ErrEntriesUnknown", name, judge, s, err)
			}
		}
	}
}

// checkSurviving holds what is left of a container to what was left before, and the judges to each other.
func checkSurviving(e *enforcer.Enforcer, id string, before map[string][]enforcer.PolicyEntry, grown bool) error {
	s, err := e.Surviving(id)
	if errors.Is(err, enforcer.ErrJudgesDisagree) || errors.Is(err, enforcer.ErrInconsistent) {
		return err
	}
	if err != nil {
		delete(before, id)
		return nil
	}
	if old, ok := before[id]; ok && !grown {
		for _, x := range s.Entries {
			if !slices.Contains(old, x) {
				return fmt.Errorf("entry %v came to container %q", x, id)
			}
		}
	}
	before[id] = s.Entries
	return nil
}

// TestDocumentIsNamed: who loads a document can say which it was.
func TestDocumentIsNamed(t *testing.T) {
	eachJudge(t, func(t *testing.T, judge enforcer.JudgeName) {
		e := load(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers")}), enforcer.Options{Judge: judge})
		d, err := e.LoadFragment(context.Background(), signed(t, strings.Replace(fragmentText(), "svn := 1", `svn := "12"`, 1)), "")
		if err != nil {
			t.Fatal(err)
		}
		if want := (enforcer.Document{Issuer: did(), Feed: testFeed, SVN: "12"}); d.Document == nil || *d.Document != want {
			t.Errorf("got %+v, want %+v", d.Document, want)
		}
	})
}

// TestSurvivingIsWhatEachEntryAllows: an entry survives exactly when a policy of it alone allows everything that was asked. Nothing is dropped from
// requests here, or the entries would decide together what is kept.
func TestSurvivingIsWhatEachEntryAllows(t *testing.T) {
	narrowed := 0
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 7))
		list := make([]testContainer, 2+r.IntN(6))
		for i := range list {
			list[i] = web()
			for _, change := range []func(c *testContainer){
				func(c *testContainer) { c.EnvRules = c.EnvRules[:1] },
				func(c *testContainer) { c.Command = []string{"/bin/other"} },
				func(c *testContainer) { c.ExecProcesses = []testProcess{} },
				func(c *testContainer) {
					c.ExecProcesses = append(c.ExecProcesses, testProcess{Command: []string{"/bin/ps"}, Signals: []int{}})
				},
				func(c *testContainer) { c.Signals = []int{9, 15} },
				func(c *testContainer) {
					c.ExecProcesses = slices.Clone(c.ExecProcesses)
					c.ExecProcesses[0].Signals = []int{}
				},
				func(c *testContainer) { c.User.UserIDName = testPattern{Pattern: "7", Strategy: "id"} },
			} {
				if r.IntN(4) == 0 && len(list[i].ExecProcesses) > 0 {
					change(&list[i])
				}
			}
		}
		var asked []enforcer.Input
		create := request(idA)
		if r.IntN(2) == 0 {
			create.EnvList = create.EnvList[:1]
		}
		asked = append(asked, create)
		for range r.IntN(4) {
			exec := execRequest(idA)
			exec.ArgList = [][]string{{"/bin/ls"}, {"/bin/ps"}}[r.IntN(2)]
			exec.EnvList = exec.EnvList[:1+r.IntN(2)]
			asked = append(
				asked, exec, enforcer.SignalContainerProcessInput{ContainerID: idA, Signal: 15, IsInitProcess: r.IntN(2) == 0, ArgList: exec.ArgList},
			)
		}
		whole := load(t, policyText(t, list), enforcer.Options{Judge: enforcer.JudgeCompiled})
		mountImage(t, whole, idA, 1)
		var allowed []enforcer.Input
		for _, in := range asked {
			d, err := whole.Decide(t.Context(), in)
			if err != nil {
				continue
			}
			if _, err := d.Commit(); err != nil {
				t.Fatal(err)
			}
			allowed = append(allowed, in)
		}
		if len(allowed) == 0 || allowed[0].Point() != enforcer.PointCreateContainer {
			continue
		}
		var want []string
		for i := range list {
			alone := load(t, policyText(t, list[i:i+1]), enforcer.Options{Judge: enforcer.JudgeCompiled})
			mountImage(t, alone, idA, 1)
			if allowsAll(t, alone, allowed) {
				want = append(want, fmt.Sprint(i))
			}
		}
		if len(want) < len(list) && len(allowed) > 1 {
			narrowed++
		}
		if got := entriesOf(t, whole, idA); got != strings.Join(want, " ") {
			t.Errorf("seed %d, %d containers, %d requests: got entries %s, want %s", seed, len(list), len(allowed), got, want)
		}
	}
	if narrowed < 10 {
		t.Errorf("got %d cases in which an exec or a signal left fewer, want 10", narrowed)
	}
}

func allowsAll(t *testing.T, e *enforcer.Enforcer, asked []enforcer.Input) bool {
	t.Helper()
	for _, in := range asked {
		d, err := e.Decide(t.Context(), in)
		if err != nil {
			return false
		}
		if _, err := d.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return true
}
