# make help lists the targets. Tools are pinned: protoc plugins in go.mod, the others in a mod-file each in .tools, so
# that what they depend on stays out of the product's module graph.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := $(CURDIR)/.tools/bin
TOOLS := $(BIN)/buf $(BIN)/golangci-lint $(BIN)/grpcurl $(BIN)/benchstat
CHROMIUM ?= /usr/bin/chromium
FUZZTIME ?= 30s
BENCH_COUNT ?= 1
MEASURE ?=
BASE ?= HEAD
PKG ?= ./bridge/...
BENCH ?= .
BENCHTIME ?= 1s
COUNT ?= 10
export PATH := $(BIN):$(PATH)
export CHROMIUM

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "%-14s %s\n", $$1, $$2}'

.PHONY: test
test: check-generate lint test-go test-deploy test-web ## Everything that CI runs; installs what is missing
	@echo "make test: all green"

.PHONY: demo
demo: ## Run the demo
	go run ./cmd/ssebridge demo

.PHONY: build
build: ## Build the binary into dist
	go build -o dist/ssebridge ./cmd/ssebridge

.PHONY: test-go
test-go: tools packages ## Go tests with the race detector, and each benchmark once
	CI=true go test -race -timeout 15m ./...
	go test -run '^$$' -bench . -benchtime 1x ./... | grep -v 'no test files'

.PHONY: test-deploy
test-deploy: proxies ## Tests of image, manifests and reverse proxies; nothing is skipped
	cd deploy && CI=true go test -race -timeout 10m ./...

.PHONY: test-web
test-web: packages proxies chromium web/node_modules/.installed build ## Browser tests in headless Chromium; nothing is skipped
	cd web && CI=true SSEBRIDGE_BIN=$(CURDIR)/dist/ssebridge npm test

.PHONY: lint
lint: tools ## buf lint, go vet, golangci-lint
	buf lint
	go vet ./...
	golangci-lint run
	cd deploy && go vet ./... && golangci-lint run

.PHONY: generate
generate: tools ## Generate gen from proto
	buf generate

.PHONY: check-generate
check-generate: tools ## Fail when gen or go.mod is not up to date
	@before=$$(mktemp -d); cp -r gen "$$before/gen"; buf generate; \
	diff -r "$$before/gen" gen || { echo "gen was stale: commit what make generate has made"; exit 1; }
	go mod tidy -diff
	cd deploy && go mod tidy -diff

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

.PHONY: soak
soak: ## Let 200 readers a second come and go for a minute while events are published
	go test ./cmd/ssebridge -run '^TestChurn$$' -churn 1m -v

.PHONY: bench
bench: bench-go ## Run the Go benchmarks, then measure the bridge and write the README's section "Measured"; MEASURE has flags
	go run ./cmd/measure $(MEASURE)

.PHONY: bench-go
bench-go: ## Run the Go benchmarks BENCH_COUNT times each, into dist/bench.txt
	mkdir -p dist
	go test -run '^$$' -bench . -benchmem -count $(BENCH_COUNT) -timeout 2h ./... | tee dist/bench.txt

# Both sides are compiled once and run in turn, so that whatever else the machine does meanwhile slows both.
.PHONY: benchstat
benchstat: $(BIN)/benchstat ## Compare the benchmarks of PKG that match BENCH with those of the commit BASE
	@git rev-parse --verify --quiet "$(BASE)^{commit}" >/dev/null || { echo "there is no commit $(BASE): set BASE"; exit 1; }; \
	work=$$(mktemp -d); trap 'git -C "$(CURDIR)" worktree remove --force "$$work/base" || true; rm -rf "$$work"' EXIT; \
	git worktree add --quiet --detach "$$work/base" "$(BASE)"; \
	ln -s "$(CURDIR)" "$$work/tree"; \
	for side in base tree; do \
		cd -P "$$work/$$side"; \
		packages=$$(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' $(PKG)); \
		for package in $$packages; do \
			directory=$$work/tests/$$side$${package#"$$PWD"}; \
			mkdir -p "$$directory"; \
			go test -c -o "$$directory/test" "$$package"; \
		done; \
	done; \
	for round in $$(seq $(COUNT)); do \
		echo "round $$round of $(COUNT)" >&2; \
		for test in $$(cd "$$work/tests" && find base tree -name test -type f | cut -d / -f 2- | sort -u); do \
			for side in base tree; do \
				test -x "$$work/tests/$$side/$$test" || continue; \
				cd -P "$$work/$$side/$$(dirname "$$test")"; \
				"$$work/tests/$$side/$$test" -test.run '^$$' -test.bench '$(value BENCH)' -test.benchtime $(BENCHTIME) -test.benchmem \
					>>"$$work/$$side.txt" || { tail "$$work/$$side.txt"; exit 1; }; \
			done; \
		done; \
	done; \
	cd "$$work"; grep -q '^Benchmark' tree.txt || { echo "no benchmark of $(PKG) matches $(value BENCH)"; exit 1; }; \
	benchstat "$(BASE)=base.txt" "working tree=tree.txt"

.PHONY: tools
tools: $(TOOLS) ## Build the pinned tools

$(BIN)/buf: .tools/buf.mod .tools/buf.sum
	go build -modfile=.tools/buf.mod -o $@ github.com/bufbuild/buf/cmd/buf

$(BIN)/golangci-lint: .tools/golangci.mod .tools/golangci.sum
	go build -modfile=.tools/golangci.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

$(BIN)/grpcurl: .tools/grpcurl.mod .tools/grpcurl.sum
	go build -modfile=.tools/grpcurl.mod -o $@ github.com/fullstorydev/grpcurl/cmd/grpcurl

$(BIN)/benchstat: .tools/benchstat.mod .tools/benchstat.sum
	go build -modfile=.tools/benchstat.mod -o $@ golang.org/x/perf/cmd/benchstat

.PHONY: packages
packages: ## Install the Debian packages that tests need
	@command -v curl >/dev/null && command -v openssl >/dev/null || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends curl ca-certificates openssl; }

.PHONY: proxies
proxies: ## Install the reverse proxies that tests need
	@test -x /usr/sbin/nginx && test -x /usr/sbin/haproxy || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light haproxy; }

.PHONY: chromium
chromium: ## Install Chromium where it is missing
	@test -x $(CHROMIUM) || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; }

web/node_modules/.installed: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	touch $@
