package entry_test

import (
	"context"
	"testing"

	"github.com/cloister-cc/cloister/enforcer"
	"github.com/cloister-cc/cloister/enforcer/entry"
)

// TestEngineTakesPlainPolicies: a policy that the engine refuses to load is none, however plain it looks.
func TestEngineTakesPlainPolicies(t *testing.T) {
	texts := entry.PlainTexts()
	for i, text := range texts {
		if entry.RaceEnabled && i%10 != 0 {
			continue
		}
		if _, err := enforcer.Load(context.Background(), []byte(text), enforcer.Options{Judge: enforcer.JudgeOPA}); err != nil {
			t.Errorf("%v:\n%s", err, text)
		}
	}
	t.Logf("%d texts", len(texts))
}
