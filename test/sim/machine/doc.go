// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

// Package machine simulates a Debian machine in memory: files with owner, group,
// mode and links, a shell with the programs that scripts of this project may
// use, packages, systemd units and a journal, and the services dnsmasq, NFS
// (kernel and Ganesha), mounts, step-ca (a real authority), nginx, Traefik and Docker,
// which behave by the machine's own files. Programs that listen are reached by Dial.
//
// The containers of a Docker engine have no files of their own. Portainer and its
// agent (package test/sim/portainer) run in those of their images, and whoami in
// those of traefik/whoami; any other image is a small server that answers with the
// container's name at every port that is published. See Engine, Portainer and DockerHub.
//
// Nothing of the computer that runs the simulator is read, changed or started:
// an unknown program ends with 127. Machines of one Network know each other by
// address. Faults can be switched on: commands that fail or wait, a dpkg lock
// that is held, connections that break.
package machine
