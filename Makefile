# Every target sets up what it needs: Debian packages as root by apt-get, Go modules by the proxy.
SHELL := /bin/bash
export PATH := $(CURDIR)/.go/bin:$(PATH):/usr/local/go/bin:/usr/sbin:/sbin
export GOFLAGS := -buildvcs=false
export GOTOOLCHAIN := local

.DEFAULT_GOAL := help
.PHONY: help build demo demo-containerd test test-full unit e2e containerd bench bench-shim bench-snp bench-enforcer bench-layers fuzz-long lint vuln generate guest clean setup-%

help: ## show the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | while IFS=$$'\t' read -r t d; do printf '  %-16s %s\n' "$$t" "$$d"; done

setup-%:
	@hack/setup.sh $*

build: setup-build ## build the programs into bin/
	go build -trimpath -o bin/ ./tools/...
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -buildid=' -o bin/ ./agent/cmd/cloister-agent
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -tags no_grpc,grpcnotrace -o bin/ ./shim/cmd/containerd-shim-cloister-v2

guest: build ## build the development guest image into out/guest
	bin/cloister guest build --dev -o out/guest

demo: setup-demo ## run a confidential pod, show its evidence, and show attacks failing
	go run ./demo

demo-containerd: setup-test ## `ctr run` and a pod through CRI on a containerd of its own, and a host that cheats
	cd tests/containerd && go run ./demo

test: setup-test ## pass every test: unit with the race detector, fuzz corpora, the suite in the VM, pods under containerd
	$(check-units)
	$(check-e2e)
	$(check-containerd)

test-full: setup-test ## what test does, and the long cases under containerd: 100 MiB, 20 pods, each fault (30 min more)
	$(check-units)
	$(check-e2e)
	$(check-containerd-full)

unit: setup-test ## every test but those with a VM
	$(check-units)

# These packages compute for minutes in one goroutine, or pack images. Where the race detector sees nothing but makes that ten times slower, they leave it
# out or take a sample (`raceEnabled` in their tests); each then runs again, whole, without it. Vet ran before, so go test need not.
WHOLE := ./agent/storage ./enforcer ./enforcer/entry ./guest ./snp/verify ./tests/cases ./tools/snp-emulator

# The software processor's RSA-4096 keys take a package seconds to make: its own tests make them, all others use one set a run.
AUTHORITY := CLOISTER_TEST_AUTHORITY=$(CURDIR)/out/test/authority

define check-units
go vet ./...
rm -rf out/test && mkdir -p out
$(AUTHORITY) go test -vet=off -race $$(go list ./... | grep -v -e /tests/e2e -e /tests/bench)
$(AUTHORITY) go test -vet=off $(WHOLE)
go test -vet=off -tags purego ./verity/internal/blockhash
cd tests/reference && go vet -tags rego ./... && go test -vet=off -tags rego ./...
endef

# The guest image is built once for the whole suite. Cases that share a VM run one after the other, those with a VM of their own beside each other.
define check-e2e
CLOISTER_E2E_REQUIRE=1 go test -count=1 -timeout 60m -v ./tests/e2e/...
endef

e2e: setup-test ## only the tests in the VM
	$(check-e2e)

# Real containerd and CNI plugins, built once from their modules. Long cases have names of their own.
define check-containerd
cd tests/containerd && go vet ./...
cd tests/containerd && CLOISTER_E2E_REQUIRE=1 go test -vet=off -count=1 -timeout 30m -v -skip '^TestFull' ./...
endef

define check-containerd-full
cd tests/containerd && go vet ./...
cd tests/containerd && CLOISTER_E2E_REQUIRE=1 go test -vet=off -count=1 -timeout 90m -v ./...
endef

containerd: setup-test ## only the tests under containerd, without the long ones
	$(check-containerd)

bench: setup-test ## measure, as ratios against references run side by side; ends with BENCH lines
	go run ./tests/bench

bench-shim: setup-test ## measure pods under containerd beside the bare VM, bare crun in it and the bare serial port (10 min)
	cd tests/containerd && go run ./bench

bench-snp: setup-test ## measure verification and evidence beside one signature check, go-sev-guest and the bare device (5 min)
	go run ./tests/bench -only snp

bench-enforcer: setup-build ## measure the enforcer beside the reference, a hand-written comparison and the bare engine (10 min)
	cd tests/reference && go run -tags rego ./cmd/bench-enforcer

bench-layers: setup-test ## measure hash trees beside veritysetup and layers beside the reference (10 min)
	go run ./tests/bench -only verity,layers

fuzz-long: setup-test ## compare the judges over 100,000 cases and with the reference over 4,000, run every fuzz target for 60 s (hours)
	go test -count=1 -timeout 6h -run '^TestJudgesAgree$$' ./enforcer -cases 100000
	cd tests/reference && go test -count=1 -timeout 2h -tags rego . -cases 4000
	@for p in $$(go list ./... | grep -v /tests/); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	  echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime 60s -fuzzminimizetime 10x $$p || exit 1; done; done

lint: setup-test ## formatters, vet, staticcheck
	@test -z "$$(go run mvdan.cc/gofumpt@v0.12.0 -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$'))" || { go run mvdan.cc/gofumpt@v0.12.0 -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$'); echo 'run: go run mvdan.cc/gofumpt@v0.12.0 -w FILES'; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...

vuln: setup-build ## look dependencies up in Go's vulnerability database (needs vuln.go.dev)
	go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...

generate: setup-test ## write generated code anew; a clean tree stays clean
	agent/api/generate.sh
	shim/snapshotter/api/generate.sh

clean: ## remove what was built here
	rm -rf bin out .go
