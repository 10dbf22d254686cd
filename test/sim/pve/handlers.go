// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve

// handlers answers every method of the schema table.
var handlers map[string]handler

// needsFileLock are the methods that write a guest's configuration themselves.
var needsFileLock = map[string]bool{
	"PUT /nodes/{node}/lxc/{vmid}/config":    true,
	"PUT /nodes/{node}/qemu/{vmid}/config":   true,
	"PUT /nodes/{node}/qemu/{vmid}/unlink":   true,
	"POST /nodes/{node}/lxc/{vmid}/template": true,
}

func init() { // the table refers to functions that refer to it
	handlers = map[string]handler{
		"GET /version": version,

		"GET /access/acl": listACL, "PUT /access/acl": updateACL,
		"GET /access/domains": listDomains, "GET /access/permissions": getPermissions, "GET /access/roles": listRoles,
		"GET /access/ticket":  func(*call) (any, error) { return nil, nil },
		"POST /access/ticket": createTicket,
		"GET /access/users":   listUsers, "POST /access/users": createUser,
		"GET /access/users/{userid}": getUser, "DELETE /access/users/{userid}": deleteUser,
		"GET /access/users/{userid}/token":              listTokens,
		"GET /access/users/{userid}/token/{tokenid}":    getToken,
		"POST /access/users/{userid}/token/{tokenid}":   createToken,
		"DELETE /access/users/{userid}/token/{tokenid}": deleteToken,
	}
	addNodeHandlers()
	addAgentHandlers()
	for _, kind := range []string{kindLXC, kindQEMU} {
		addGuestHandlers("/nodes/{node}/" + kind)
		addFirewallHandlers("/nodes/{node}/"+kind+"/{vmid}/firewall", true)
	}
	addFirewallHandlers("/cluster/firewall", true)
	addRuleHandlers("/cluster/firewall/groups/{group}")
	add(map[string]handler{
		"GET /cluster/firewall/groups": fwRead(listGroups), "POST /cluster/firewall/groups": fwEdit(createGroup),
		"DELETE /cluster/firewall/groups/{group}": fwEdit(deleteGroup), "GET /cluster/firewall/macros": fwRead(listMacros),
	})
	addFirewallHandlers("/nodes/{node}/firewall", false)
}

func addNodeHandlers() {
	add(map[string]handler{
		"GET /cluster/resources": clusterResources, "GET /cluster/status": clusterStatus,
		"GET /cluster/tasks": clusterTasks, "GET /cluster/nextid": nextID,
		"GET /cluster/ha/resources": listHA, "POST /cluster/ha/resources": addHA,
		"GET /cluster/ha/resources/{sid}": getHA, "DELETE /cluster/ha/resources/{sid}": removeHA,
		"POST /cluster/ha/resources/{sid}/migrate": migrateHA, "GET /cluster/ha/status/current": haStatus,

		"GET /nodes":        listNodes,
		"GET /nodes/{node}": subdirs("status", "version", "network", "tasks", "storage", "lxc", "qemu", "firewall"),

		"GET /nodes/{node}/status": nodeStatus, "GET /nodes/{node}/version": version,
		"GET /nodes/{node}/network": nodeNetwork, "GET /nodes/{node}/network/{iface}": nodeInterface,
		"GET /nodes/{node}/tasks": nodeTasks, "DELETE /nodes/{node}/tasks/{upid}": interruptTask,
		"GET /nodes/{node}/tasks/{upid}/log": taskLog, "GET /nodes/{node}/tasks/{upid}/status": taskStatus,

		"GET /nodes/{node}/storage":                               nodeStorages,
		"GET /nodes/{node}/storage/{storage}/status":              storageStatus,
		"GET /nodes/{node}/storage/{storage}/content":             storageContent,
		"POST /nodes/{node}/storage/{storage}/content":            allocateVolume,
		"GET /nodes/{node}/storage/{storage}/content/{volume}":    volumeInfo,
		"DELETE /nodes/{node}/storage/{storage}/content/{volume}": removeVolume,
		"POST /nodes/{node}/storage/{storage}/download-url":       downloadURL,
		"POST /nodes/{node}/storage/{storage}/upload":             uploadFile,
		"GET /storage": listStorages, "GET /storage/{storage}": getStorage,

		"GET /pools": listPools, "POST /pools": createPool, "PUT /pools": updatePool, "DELETE /pools": deletePool,
		"GET /pools/{poolid}": getPool, "DELETE /pools/{poolid}": deletePool,

		"GET /nodes/{node}/lxc/{vmid}/interfaces":      containerInterfaces,
		"POST /nodes/{node}/qemu/{vmid}/config":        postConfig,
		"PUT /nodes/{node}/qemu/{vmid}/unlink":         unlinkDisks,
		"GET /nodes/{node}/qemu/{vmid}/cloudinit/dump": dumpCloudInit,
	})
}

func addAgentHandlers() {
	add(map[string]handler{
		"POST /nodes/{node}/qemu/{vmid}/agent/exec":                  agentExecute,
		"POST /nodes/{node}/qemu/{vmid}/agent/ping":                  agentPing,
		"GET /nodes/{node}/qemu/{vmid}/agent/file-read":              agentFileRead,
		"POST /nodes/{node}/qemu/{vmid}/agent/file-write":            agentFileWrite,
		"GET /nodes/{node}/qemu/{vmid}/agent/exec-status":            agentExecStatus,
		"GET /nodes/{node}/qemu/{vmid}/agent/get-host-name":          agentHostName,
		"GET /nodes/{node}/qemu/{vmid}/agent/get-osinfo":             agentOSInfo,
		"GET /nodes/{node}/qemu/{vmid}/agent/network-get-interfaces": agentInterfaces,
	})
}

func add(more map[string]handler) {
	for key, h := range more {
		handlers[key] = h
	}
}

func addGuestHandlers(base string) {
	one := base + "/{vmid}"
	add(map[string]handler{
		"GET " + base: listGuests, "POST " + base: createGuest,
		"GET " + one: subdirs("config", "pending", "status", "snapshot", "firewall"), "DELETE " + one: destroyGuest,
		"GET " + one + "/config": getConfig, "PUT " + one + "/config": putConfig, "GET " + one + "/pending": getPending,
		"POST " + one + "/clone": cloneGuest, "POST " + one + "/template": makeTemplate, "POST " + one + "/migrate": migrateGuest,
		"PUT " + one + "/resize": resizeGuest, "GET " + one + "/feature": hasFeature,
		"GET " + one + "/status":         subdirs("current", "start", "stop", "shutdown", "reboot", "migrate"),
		"GET " + one + "/status/current": currentStatus, "POST " + one + "/status/start": startGuest,
		"POST " + one + "/status/stop": stopGuest, "POST " + one + "/status/shutdown": shutdownGuest,
		"POST " + one + "/status/reboot": rebootGuest, "POST " + one + "/status/suspend": suspendGuest,
		"POST " + one + "/status/resume": resumeGuest,
		"GET " + one + "/snapshot":       listSnapshots, "POST " + one + "/snapshot": createSnapshot,
		"DELETE " + one + "/snapshot/{snapname}":        deleteSnapshot,
		"GET " + one + "/snapshot/{snapname}/config":    getSnapshotConfig,
		"POST " + one + "/snapshot/{snapname}/rollback": rollbackSnapshot,
	})
}

// addFirewallHandlers adds a level's methods; sets: the level has aliases and sets.
func addFirewallHandlers(base string, sets bool) {
	add(map[string]handler{
		"GET " + base + "/options": fwRead(getFirewallOptions), "PUT " + base + "/options": fwEdit(putFirewallOptions),
	})
	addRuleHandlers(base + "/rules")
	if base != "/cluster/firewall" {
		add(map[string]handler{"GET " + base + "/log": fwRead(firewallLog)})
	}
	if !sets {
		return
	}
	add(map[string]handler{
		"GET " + base + "/aliases": fwRead(listAliases), "POST " + base + "/aliases": fwEdit(createAlias),
		"GET " + base + "/aliases/{name}": fwRead(getAlias), "PUT " + base + "/aliases/{name}": fwEdit(putAlias),
		"DELETE " + base + "/aliases/{name}": fwEdit(deleteAlias),
		"GET " + base + "/ipset":             fwRead(listSets), "POST " + base + "/ipset": fwEdit(createSet),
		"GET " + base + "/ipset/{name}": fwRead(getSet), "POST " + base + "/ipset/{name}": fwEdit(addToSet),
		"DELETE " + base + "/ipset/{name}":     fwEdit(deleteSet),
		"GET " + base + "/ipset/{name}/{cidr}": fwRead(getSetEntry), "PUT " + base + "/ipset/{name}/{cidr}": fwEdit(putSetEntry),
		"DELETE " + base + "/ipset/{name}/{cidr}": fwEdit(removeFromSet),
		"GET " + base + "/refs":                   fwRead(listRefs),
	})
}

func addRuleHandlers(base string) {
	add(map[string]handler{
		"GET " + base: fwRead(listRules), "POST " + base: fwEdit(addRule),
		"GET " + base + "/{pos}": fwRead(getRule), "PUT " + base + "/{pos}": fwEdit(putRule), "DELETE " + base + "/{pos}": fwEdit(deleteRule),
	})
}
