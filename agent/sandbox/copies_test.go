package sandbox

import (
	"errors"
	"slices"
	"testing"

	"github.com/cloister-cc/cloister/agent/api"
)

// ownedStaging records whose files are removed.
type ownedStaging struct{ removed []string }

func (*ownedStaging) Copy(*api.CopyFileRequest) error { return nil }
func (*ownedStaging) Resolve(string) (string, error)  { return "", errors.New("no such entry") }
func (o *ownedStaging) RemoveOwned(id string) error {
	o.removed = append(o.removed, id)
	return nil
}

// TestCopiesGoWithTheContainer: those of a container that was refused too, or a pod whose container is refused again and again would have no room left. An id
// that is in use keeps its files when somebody asks for it again.
func TestCopiesGoWithTheContainer(t *testing.T) {
	b := newBench(t, testPolicy(""))
	owned := &ownedStaging{}
	b.cfg.Staging = owned
	refused := web(t, "refused", func(r *CreateRequest) { r.OCI.Process.Args = []string{"/bin/other"} })
	if err := b.CreateContainer(t.Context(), refused); err == nil {
		t.Fatal("another command was allowed")
	}
	if err := b.CreateContainer(t.Context(), web(t, "web", nil)); err != nil {
		t.Fatal(err)
	}
	if err := b.CreateContainer(t.Context(), web(t, "web", nil)); err == nil {
		t.Fatal("an id was used twice")
	}
	if want := []string{"refused"}; !slices.Equal(owned.removed, want) {
		t.Errorf("got the files of %q removed, want of %q", owned.removed, want)
	}
	if err := b.RemoveContainer(t.Context(), "web", 0); err != nil {
		t.Fatal(err)
	}
	if want := []string{"refused", "web"}; !slices.Equal(owned.removed, want) {
		t.Errorf("got the files of %q removed, want of %q", owned.removed, want)
	}
}
