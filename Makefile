# `make run` and `make test` do all the set-up that a fresh machine needs.
# Everything else here is a step of theirs, or a convenience.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := .tools/golangci-lint-$(GOLANGCI_VERSION)

# Linux, whatever the server runs on: the agent runs in the engine's containers.
AGENT_ARCHS := amd64 arm64
AGENT_BUILD := CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags='-s -w'

.DEFAULT_GOAL := help
.PHONY: help run build agent engine test services test-go bench fuzz lint tidy generate swagger check-generated clean

help: ## Show what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: engine build ## Start the server, and provide all that it needs
	@if [ -f .env ]; then set -a; . ./.env; set +a; fi; exec bin/runbook

build: agent ## Build the server into bin/
	@go build -o bin/runbook ./api

agent: ## Build the agent that runs inside the containers
	@for arch in $(AGENT_ARCHS); do GOARCH=$$arch $(AGENT_BUILD) -o docker/agentbin/linux/$$arch ./docker/agent; done

engine:
	@docker/scripts/engine.sh
	@docker/scripts/base-image.sh

test: ## Run all that CI runs, on a real engine and a real Postgres
	@docker/scripts/test.sh

# The steps of `make test`, which provides what they need first.

test-go:
	go test -race ./...

bench: ## Measure, on a real engine and a real Postgres
	@docker/scripts/test.sh bench

fuzz: ## Fuzz the parsers for a minute each
	go test -run '^$$' -fuzz '^FuzzParse$$' -fuzztime 60s ./pkg/runbook
	go test -run '^$$' -fuzz '^FuzzReadFrame$$' -fuzztime 60s ./pkg/agent

lint: agent $(GOLANGCI) ## Look for what doesn't belong
	$(GOLANGCI) run ./...

$(GOLANGCI):
	@echo "runbook: building golangci-lint $(GOLANGCI_VERSION) (minutes, once)"
	@GOBIN="$$PWD/.tools/build" go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@mv .tools/build/golangci-lint $@

tidy: ## Check that go.mod and go.sum are what they should be
	go mod tidy -diff

generate: swagger ## Make the generated files anew
	go test ./pkg/config -update

SWAGGER_OUTPUT := docs
SWAGGER_FILES  := docs.go swagger.json openapi.json

# From the annotations of the handlers.
swagger:
	@go tool swag init --quiet --requiredByDefault --generalInfo server.go --output $(SWAGGER_OUTPUT) --outputTypes go,json --packageName docs \
		--dir api/server,pkg/execution,pkg/runbook,pkg/store,pkg/apperr,pkg/agent
	@gofmt -w $(SWAGGER_OUTPUT)/docs.go
	@go run ./docs/openapi $(SWAGGER_OUTPUT)/swagger.json $(SWAGGER_OUTPUT)/openapi.json

check-generated: ## Check that the generated files are up to date
	@fresh="$$(mktemp -d)"; trap 'rm -rf "$$fresh"' EXIT; \
	$(MAKE) --no-print-directory swagger SWAGGER_OUTPUT="$$fresh"; \
	for file in $(SWAGGER_FILES); do \
		diff -u "docs/$$file" "$$fresh/$$file" || { echo "runbook: docs/$$file is out of date: run make generate"; exit 1; }; \
	done

clean: ## Remove what was built here
	rm -rf bin .tools docker/agentbin/linux/amd64 docker/agentbin/linux/arm64
