package sandbox

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestLoadFragmentTakesItsTurn: what a policy allows does not grow while a container is being made.
func TestLoadFragmentTakesItsTurn(t *testing.T) {
	b := newBench(t, "package policy\napi_version := \"0.12.0\"\nframework_version := \"0.5.0\"\nload_fragment := data.framework.load_fragment\n")
	err := b.change(t.Context(), func(context.Context) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return b.LoadFragment(ctx, "LoadFragmentRequest", nil, "")
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v while another request has the turn, want %v", err, context.Canceled)
	}
	if err := b.LoadFragment(t.Context(), "LoadFragmentRequest", nil, ""); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v, want a refusal", err)
	}
}
