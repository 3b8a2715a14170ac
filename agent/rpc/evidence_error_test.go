package rpc

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cloister-cc/cloister/snp"
)

// TestNoEvidence: the host is told why in words of a fixed set, and nothing of what the device said.
func TestNoEvidence(t *testing.T) {
	for _, c := range []struct {
		err  error
		code codes.Code
		word string
	}{
		{fmt.Errorf("secret: %w", snp.ErrKeyLost), codes.FailedPrecondition, "VMPCK"},
		{fmt.Errorf("secret: %w", snp.ErrBusy), codes.Unavailable, "waiting"},
		{errors.New("secret"), codes.Internal, "no report could be made"},
	} {
		got := noEvidence(c.err)
		if status.Code(got) != c.code || !strings.Contains(got.Error(), c.word) || strings.Contains(got.Error(), "secret") {
			t.Errorf("%v: got %v, want %v with %q", c.err, got, c.code, c.word)
		}
	}
}
