# make help lists the targets. Tools of the Go kind are pinned in tools.mod;
# Debian packages are listed, and installed when they lack, by e2e/deps.sh.

export CGO_ENABLED := 0
SHELL    := bash
.SHELLFLAGS := -euo pipefail -c
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X main.revision=$(REVISION)
FUZZTIME ?= 60s
TIMEOUT  ?= 22m
TOOL     := go tool -modfile=tools.mod
SCRIPTS  := .ci/run $(wildcard e2e/*.sh e2e/testdata/*.sh bench/*.sh)

.DEFAULT_GOAL := help
.PHONY: help build deps demo test race fuzz lint bench e2e check man clean

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

lint: ## gofmt, gofumpt, vet, staticcheck, shellcheck
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	@test -z "$$($(TOOL) gofumpt -l . | tee /dev/stderr)"
	go vet ./...
	$(TOOL) staticcheck ./...
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "lint: no shellcheck: scripts not checked"; fi

test: ## lint and every test, end to end ones too; counts the skips
	@e2e/deps.sh test
	@$(MAKE) --no-print-directory lint
	LOCKPLATE_MODEL_OPS=1000000 go test -json -timeout $(TIMEOUT) ./... | go run ./e2e/tally

race: ## every test, short, under the race detector
	CGO_ENABLED=1 go test -race -short -timeout $(TIMEOUT) ./...

fuzz: ## every fuzz target for FUZZTIME (60s) each
	@e2e/fuzz.sh $(FUZZTIME)

e2e: ## only the tests that drive the built binary with outside clients
	@e2e/deps.sh test
	go test -json -count 1 -timeout $(TIMEOUT) ./e2e/... | go run ./e2e/tally

bench: ## side-by-side speed table into docs/BENCHMARKS.md
	@e2e/deps.sh bench
	@$(MAKE) --no-print-directory build
	go run ./bench -binary bin/lockplate -write docs/BENCHMARKS.md

check: test race ## all that a change must pass

man: build ## man pages into dist/man
	bin/lockplate man --dir dist/man

clean: ## remove what was built
	rm -rf bin dist demo.out
