// Package e2e holds the tests that need a real guest: they boot the development image under QEMU (TCG where KVM does not
// work), drive the agent over its virtio-serial channel and send what an honest host sends and what it must not.
//
// Most cases share one VM; each of them has to leave it as it found it, and the harness counts what the agent holds after
// every case. Cases about binding a policy or about the processor boot their own, two at a time on two cores. When a case fails, the end of the serial console and, where the
// policy allows it, of the agent's log are printed with it.
//
//	go test ./tests/e2e                                  builds the guest image into the user's cache first
//	CLOISTER_E2E_GUEST=out/guest go test ./tests/e2e     takes one that is there
//	go test -short ./...                                 leaves these tests out
package e2e
