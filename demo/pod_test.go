package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/cloister-cc/cloister/shim/pod"
)

// TestPodLoads keeps the document within what is supported, and its nonce replaceable.
func TestPodLoads(t *testing.T) {
	p, err := pod.Load("pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.ContainerNames(); !slices.Equal(got, []string{"nginx", "client"}) {
		t.Errorf("got containers %v", got)
	}
	if err := p.SetEnv("client", "DEMO_NONCE", strings.Repeat("a", 64)); err != nil {
		t.Error(err)
	}
}
