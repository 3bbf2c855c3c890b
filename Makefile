# make help lists the targets. Tools of the Go kind are pinned in tools.mod;
# Debian packages are listed, and installed when they lack, by e2e/deps.sh.

export CGO_ENABLED := 0
SHELL    := bash
.SHELLFLAGS := -euo pipefail -c
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)
FUZZTIME ?= 60s
SOAKTIME ?= 10m
TIMEOUT  ?= 22m
TOOL     := go tool -modfile=tools.mod
SCRIPTS  := .ci/run $(wildcard e2e/*.sh e2e/testdata/*.sh bench/*.sh)

.DEFAULT_GOAL := help
.PHONY: help build deps demo generate test arm64 race fuzz lint bench e2e soak scale check man clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/lockplate, static
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/lockplate ./cmd/lockplate

deps: ## install the Debian packages that tests and demo need and this machine lacks
	@e2e/deps.sh test bench

demo: ## the main job, step by step with proofs, in about a minute
	@e2e/deps.sh demo
	@$(MAKE) --no-print-directory build
	@e2e/demo.sh bin/lockplate

generate: ## the amd64 kernels of the cipher, and the bench's loops, from their generator
	cd cipher/asm && go generate .

lint: ## gofmt, gofumpt, vet, staticcheck, shellcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	@test -z "$$($(TOOL) gofumpt -l . | tee /dev/stderr)"
	go vet ./...
	$(TOOL) staticcheck ./...
	@cd cipher/asm && go vet . && out=$$(mktemp) && trap 'rm -f "$$out"' EXIT && \
	for of in ../xts_amd64.s -limit:../../bench/limit_amd64.s; do \
	  go run . $$([[ $$of != -* ]] || echo "$${of%%:*}") -out "$$out" && tail -n +2 "$$out" | cmp - <(tail -n +2 "$${of#*:}") || \
	  { echo "lint: $${of##*/} is not what cipher/asm writes: make generate" >&2; exit 1; }; done
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "lint: no shellcheck: scripts not checked"; fi

test: ## lint and every test, end to end ones too; counts the skips
	@e2e/deps.sh test
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory arm64
	LOCKPLATE_MODEL_OPS=1000000 go test -json -timeout $(TIMEOUT) ./... | go run ./e2e/tally

arm64: ## the cipher's arm64 kernels, emulated where this is no arm64
	@if command -v qemu-aarch64-static >/dev/null; then \
	  GOARCH=arm64 go vet ./cipher && GOARCH=arm64 go test -short -exec qemu-aarch64-static ./cipher; \
	elif [[ -n "$${LOCKPLATE_REQUIRE_ALL:-}" ]]; then echo "arm64: needs qemu-aarch64-static" >&2; exit 1; \
	else echo "arm64: no qemu-aarch64-static: not tested"; fi

race: ## every test, short, under the race detector
	CGO_ENABLED=1 go test -race -short -timeout $(TIMEOUT) ./...

fuzz: ## every fuzz target for FUZZTIME (60s) each
	@e2e/fuzz.sh $(FUZZTIME)

e2e: ## only the tests that drive the built binary with outside clients
	@e2e/deps.sh test
	go test -json -count 1 -timeout $(TIMEOUT) ./e2e/... | go run ./e2e/tally

soak: ## everything at once for SOAKTIME (10m): no error, and nothing grows
	@e2e/deps.sh test
	go test ./e2e -run 'TestSoak$$' -count 1 -v -timeout 0 -soak $(SOAKTIME)

scale: ## cost as volumes, connections and sizes grow, longer than in the tests (some minutes)
	@e2e/deps.sh test
	go test ./e2e -run 'CostOfMany|ThroughputAs|OpenTimeDoes' -count 1 -v -timeout 0 -scale-rounds 7 -scale-time 1s

bench: ## everything beside the peers that are installed, into docs/BENCHMARKS.md and docs/bench/ (an hour)
	@e2e/deps.sh bench
	@$(MAKE) --no-print-directory build
	bin/lockplate bench cipher --write docs $(BENCH_CIPHER)
	bin/lockplate bench gateway --write docs $(BENCH_GATEWAY)
	bin/lockplate bench gateway --dir bin --write docs $(BENCH_GATEWAY)
	bin/lockplate bench gateway --tls --write docs $(BENCH_TLS)
	bin/lockplate bench latency --write docs $(BENCH_LATENCY)
	bin/lockplate bench rekey --write docs $(BENCH_REKEY)

check: test race ## all that a change must pass

man: build ## man pages into dist/man
	bin/lockplate man --dir dist/man

clean: ## remove what was built
	rm -rf bin dist demo.out
