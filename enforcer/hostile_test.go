package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloister-cc/cloister/enforcer"
)

// TestFragmentSeesNoSkeleton: the compiled rules load fragments into a policy without its lists and most of its state. A fragment that looks
// at either is refused, whatever it would have seen.
func TestFragmentSeesNoSkeleton(t *testing.T) {
	for name, rule := range map[string]string{
		"containers": `containers := %s if count(data.policy.containers) == 0`,
		"not":        `containers := %s if not data.policy.containers[0]`,
		"framework":  `containers := %s if count(data.framework.policy_containers) == 0`,
		"metadata":   `containers := %s if not data.metadata.devices`,
		"import":     "import data.metadata as m\ncontainers := %s if not m.started",
		"all":        `containers := %s if not data[concat("", ["meta", "data"])].devices`,
	} {
		t.Run(name, func(t *testing.T) {
			policy := policyText(t, []testContainer{web()}) + "fragments := " + jsonText(t, []allowance{allowFragment(did(), "containers")}) + "\n"
			e := load(t, policy, enforcer.Options{Judge: enforcer.JudgeCompiled})
			text := fragmentText("import rego.v1", fmt.Sprintf(rule, containersText(t, layered(root(7)))))
			_, err := e.LoadFragment(t.Context(), signed(t, text), "")
			if denial := (*enforcer.Denial)(nil); !errors.As(err, &denial) {
				t.Fatalf("got %v, want a refusal", err)
			}
		})
	}
}

// TestCompiledDeadline: long values and many patterns end at the deadline, as in the engine.
func TestCompiledDeadline(t *testing.T) {
	definition := web()
	definition.EnvRules = nil
	for i := range 40 {
		definition.EnvRules = append(definition.EnvRules, testEnv{Pattern: fmt.Sprintf("(?i)(FABRIC|X%d)_.+=.+[0-9]{1,8}", i), Strategy: "re2"})
	}
	list := make([]testContainer, 20)
	for i := range list {
		list[i] = definition
		list[i].WorkingDir = "/"
	}
	e := load(t, policyText(t, list), enforcer.Options{Judge: enforcer.JudgeCompiled, EvalTimeout: 100 * time.Millisecond})
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.WorkingDir, in.EnvList = "/", []string{"FABRIC_" + strings.Repeat("a", 400<<10) + "=x"}
	start := time.Now()
	if _, err := e.Decide(t.Context(), in); !errors.Is(err, enforcer.ErrDeadline) {
		t.Fatalf("got %.200v after %s, want the deadline", err, time.Since(start))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Decide(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's end", err)
	}
}

// TestVariantsAreBounded: platform rules multiply containers, so a text of megabytes could ask for gigabytes.
func TestVariantsAreBounded(t *testing.T) {
	var containers []testContainer
	for range 300 {
		containers = append(containers, web())
	}
	rules := "platform_rules := [" + strings.Repeat(`{"env_rules": [{"pattern": "A=b", "strategy": "string", "required": false}], "mounts": []},`, 299) + `{}]` + "\n"
	text := policyText(t, containers) + rules
	if _, err := enforcer.Load(t.Context(), []byte(text), enforcer.Options{Judge: enforcer.JudgeCompiled}); err == nil || !strings.Contains(err.Error(), "variants") {
		t.Errorf("got %v, want a bound on variants", err)
	}
	if err := loadFragmentError(t, fragmentPolicy(t, []allowance{allowFragment(did(), "containers", "platform_rules")}),
		fragmentText("containers := "+containersText(t, containers...), rules)); err == nil || !strings.Contains(err.Error(), "evaluated") {
		t.Errorf("got %v, want a refusal of the fragment", err)
	}
}

func loadFragmentError(t *testing.T, policy, text string) error {
	t.Helper()
	e := load(t, policy, enforcer.Options{Judge: enforcer.JudgeCompiled})
	_, err := e.LoadFragment(t.Context(), signed(t, text), "")
	return err
}

// TestLoadEndsWithItsContext: a text that the engine's compiler takes minutes for does not hold who waits.
func TestLoadEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := enforcer.Load(ctx, []byte("package policy\nx := 1"+strings.Repeat("+1", 12000)), enforcer.Options{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v after %s, want the context's end", err, time.Since(start))
	}
}

// TestReasonWrittenOut: the reference's tool writes the framework's reason as its two members; that is plain, and says the same.
func TestReasonWrittenOut(t *testing.T) {
	const written = `{"errors": data.framework.errors, "error_objects": data.framework.error_objects}`
	text := replaceOnce(t, policyText(t, []testContainer{web()}), "reason := data.framework.reason", "reason := "+written)
	e := load(t, text, enforcer.Options{Judge: enforcer.JudgeBoth})
	if name, why := e.Judge(); name != enforcer.JudgeBoth {
		t.Fatalf("judged by %s: %v", name, why)
	}
	mountImage(t, e, idA, 1)
	in := request(idA)
	in.WorkingDir = "/elsewhere"
	refuse(t, e, in, "invalid working directory")
}
