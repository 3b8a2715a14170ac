package explain_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/explain"
)

func TestEveryRuleIsExplained(t *testing.T) {
	for _, rule := range enforcer.Rules() {
		text := explain.Denial(&enforcer.Denial{Point: enforcer.PointCreateContainer, Rule: rule, Field: "x"})
		if strings.Contains(text, "own words") {
			t.Errorf("rule %q has no explanation", rule)
		}
	}
}

func TestExplainNamesContainerAndFurtherReasons(t *testing.T) {
	d := &enforcer.Denial{
		Point: enforcer.PointCreateContainer, Rule: "invalid command", Field: "process.args", Container: "web",
		Reasons: []string{"invalid command", "invalid env list: SECRET_NAME"},
	}
	got := explain.Error(errors.Join(errors.New("create"), d))
	for _, want := range []string{"create_container", `"web"`, "process.args", "Also: invalid env list."} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	if strings.Contains(got, "SECRET_NAME") {
		t.Errorf("got %q, which repeats what the host sent", got)
	}
}

func TestExplainOwnWordsOfAPolicy(t *testing.T) {
	e, err := enforcer.Load(context.Background(), []byte(`package policy
api_version := "0.12.0"
dump_stacks := {"allowed": false}
reason := {"errors": ["no stacks on Sundays"]}`), enforcer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Decide(context.Background(), enforcer.DumpStacksInput{})
	if got := explain.Error(err); !strings.Contains(got, "no stacks on Sundays") {
		t.Errorf("got %q", got)
	}
	if got := explain.Error(context.DeadlineExceeded); !strings.Contains(got, "could not decide") {
		t.Errorf("got %q", got)
	}
}
