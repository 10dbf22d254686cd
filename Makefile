# SPDX-FileCopyrightText: The Phoenix Authors
# SPDX-License-Identifier: Apache-2.0

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null)
IMAGE    ?= localhost/phoenix:$(VERSION)
CLUSTER  ?= phoenix
PKG      ?= ./...
UNTIL    ?=
TIMEOUT  ?= 5m
ARGS     ?=

# What goes into the image is static; what runs here shares the build cache with the tests. The race detector needs a C
# compiler with its headers, so it is on where they are.
STATIC := CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
RACE    = $(shell [ "$$(go env CGO_ENABLED)" = 1 ] && echo '\#include <stdlib.h>' | gcc -E - >/dev/null 2>&1 && echo -race)
# The directory with kube-apiserver and etcd: found, downloaded or built, once.
ASSETS = set -e; KUBEBUILDER_ASSETS="$$(go run -C hack/controlplane .)"; export KUBEBUILDER_ASSETS
# The kind cluster whatever kubectl's present context is; without CLUSTER, the present one.
KUBECTL = kubectl $(if $(CLUSTER),--context 'kind-$(CLUSTER)')

.DEFAULT_GOAL := help
.PHONY: help run lab lab-deps test e2e soak bench cover verify generate fmt lint manager image kind-up deploy undeploy clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: manager ## Bring the reference site up on this machine, simulated, until Ctrl-C (UNTIL=ready ends it when all is Ready).
	@$(ASSETS); go build -o bin/run ./hack/run; exec bin/run --until='$(UNTIL)' --timeout='$(TIMEOUT)' $(ARGS)

lab-deps: ## Make what the lab needs, once: programs of this Debian, a root file system, an apt repository, step-ca, Traefik (root).
	@go run ./test/lab/cmd/lab-deps

lab: manager ## Bring the reference site up with real machines, in containers, until Ctrl-C (root, after make lab-deps).
	@$(ASSETS); go build -o bin/run ./hack/run; exec bin/run --lab --until='$(UNTIL)' --timeout='$(TIMEOUT)' $(ARGS)

test: ## Run the unit tests and the tests against a real API server.
	@$(ASSETS); go test $(RACE) -timeout 20m $(ARGS) $$(go list $(PKG) | grep -v /test/e2e); \
	for m in hack/controlplane hack/tools; do go -C $$m test ./...; done

e2e: manager ## Run the whole program: against the simulated site, killed and restarted, and in the lab (root, after make lab-deps).
	@$(ASSETS); MANAGER="$(CURDIR)/bin/manager" go test -count=1 -p 1 -timeout 20m -skip '^TestSoak' $(ARGS) ./test/e2e/...

soak: manager ## Run what takes long in the lab, half an hour at most (root, after make lab-deps).
	@$(ASSETS); MANAGER="$(CURDIR)/bin/manager" go test -count=1 -timeout 30m -v -run '^TestSoak' $(ARGS) ./test/e2e/lab

bench: manager ## Measure what the documentation claims, as ratios within one run; Routes on real machines where the lab can be had.
	@$(ASSETS); MANAGER="$(CURDIR)/bin/manager" go test -p 1 -run '^$$' -bench . -benchtime 1x -timeout 30m $(ARGS) ./test/bench/...

cover: ## Measure statement coverage by package and in all.
	@$(ASSETS); go test -coverpkg=./api/...,./cmd/...,./controllers/...,./internal/... -coverprofile=coverage.out \
		$$(go list ./... | grep -v /test/e2e) >coverage.log || { cat coverage.log; exit 1; }; hack/coverage coverage.out

verify: ## Fail where generated files, formatting or module files are not up to date.
	@hack/verify

generate: ## Write the generated files: deep copies, CRDs, RBAC.
	@hack/tools/run controller-gen object paths=./api/...
	@hack/tools/run controller-gen crd paths=./api/... output:crd:dir=config/crd
	@hack/tools/run controller-gen rbac:roleName=phoenix-manager,fileName=role.yaml paths=./controllers/... output:rbac:dir=config/rbac

fmt: ## Format the code.
	@hack/tools/run golangci-lint fmt

lint: ## Run the linters.
	@hack/tools/run golangci-lint run
	@for m in hack/controlplane hack/tools; do (cd $$m && ../tools/run golangci-lint run) || exit 1; done

manager: ## Build the manager into bin/.
	@go build -ldflags '-X main.version=$(VERSION)' -o bin/manager ./cmd/manager

image: ## Assemble the container image into dist/phoenix-image.tar; no container engine is needed.
	@set -e; mkdir -p dist; for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch $(STATIC) -o dist/manager-linux-$$arch ./cmd/manager; done
	@SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" go run -C hack/tools ./image -out "$(CURDIR)/dist/phoenix-image.tar" -name '$(IMAGE)' -version '$(VERSION)' -revision '$(REVISION)' \
		"$(CURDIR)/dist/manager-linux-amd64" "$(CURDIR)/dist/manager-linux-arm64"

kind-up: ## Make the small kind cluster that the site's owner runs Phoenix on.
	kind get clusters | grep -qx '$(CLUSTER)' || kind create cluster --name '$(CLUSTER)' --config hack/kind.yaml --wait 2m

deploy: image ## Install Phoenix into the kind cluster (or, with CLUSTER= empty, into kubectl's present one from a registry).
	@if [ -n '$(CLUSTER)' ]; then kind load image-archive dist/phoenix-image.tar --name '$(CLUSTER)'; fi
	kubectl kustomize config/default | sed 's|image: localhost/phoenix:.*|image: $(IMAGE)|' | $(KUBECTL) apply --server-side -f -
	@case '$(IMAGE)' in *-dirty) $(KUBECTL) -n phoenix-system rollout restart deployment/phoenix-manager;; esac # another build of one name
	$(KUBECTL) -n phoenix-system rollout status deployment/phoenix-manager --timeout=2m

undeploy: ## Remove the manager from the cluster; the declared objects and what they stand for stay.
	$(KUBECTL) delete --ignore-not-found -n phoenix-system deployment/phoenix-manager

clean: ## Remove what was built in this checkout.
	rm -rf bin dist coverage.out coverage.log .phoenix
