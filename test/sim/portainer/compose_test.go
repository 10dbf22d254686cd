// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package portainer_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/phoenix-hypervisor/phoenix/test/sim/portainer"
)

// asCompose makes the test's own program a docker-compose that only tells what engine
// it was led to.
const asCompose = "PORTAINER_SIM_TEST_COMPOSE"

func TestMain(m *testing.M) {
	if os.Getenv(asCompose) == "" {
		os.Exit(m.Run())
	}
	answer, err := http.Get("http://" + strings.TrimPrefix(os.Args[2], "tcp://") + "/v1.41/info")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = io.Copy(os.Stderr, answer.Body)
	_ = answer.Body.Close()
	os.Exit(1)
}

func TestComposeOfTheServerReachesAnAgentsEngine(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(o *portainer.Options) { o.Compose = self })
	w.admin()
	url, _ := w.agent("s3cret", portainer.NewMemory(portainer.MemoryOptions{Name: "drphoenix"}))
	w.want("an agent", 200, "", "POST", "/endpoints", form("drphoenix", url))
	t.Setenv(asCompose, "yes")
	const create = "/stacks/create/standalone/string?endpointId=1"
	w.want("its words", 500, "failed to deploy a stack: ", "POST", create, object{"name": "a", "stackFileContent": oneText})
	w.want("and the engine's", 500, "PHNX:DRPHOENIX", "POST", create, object{"name": "a", "stackFileContent": oneText})
}
