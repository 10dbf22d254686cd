// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package pve_test

// accessTraces are recorded on a real host, in this order.
var accessTraces = []traced{
	{reason: "a user is made", request: "POST /access/users", params: []string{"userid=alice@pve", "password=alicepass1"}, status: 200,
		body: `{"data":null}`},
	{reason: "a user's name is taken", request: "POST /access/users", params: []string{"userid=alice@pve"}, status: 500,
		body: `{"message":"create user failed: user 'alice@pve' already exists\n","data":null}`},
	{reason: "a pool is made", request: "POST /pools", params: []string{"poolid=p1"}, status: 200,
		body: `{"data":null}`},
	{reason: "a role must be there", request: "PUT /access/acl", params: []string{"path=/vms/101", "roles=Nope", "users=alice@pve"}, status: 500,
		body: `{"data":null,"message":"ACL update failed: role 'Nope' does not exist\n"}`},
	{reason: "a role is given on a path", request: "PUT /access/acl", params: []string{"path=/vms/101", "roles=PVEVMUser", "users=alice@pve"}, status: 200,
		body: `{"data":null}`},
	{reason: "the list of roles on paths", request: "GET /access/acl", status: 200,
		body: `{"data":[{"path":"/vms/101","propagate":1,"ugid":"alice@pve","type":"user","roleid":"PVEVMUser"}]}`},
	{reason: "the privileges of a role on a path", request: "GET /access/permissions", params: []string{"userid=alice@pve"}, status: 200,
		body: `{"data":{"/vms/101":{"VM.GuestAgent.Audit":1,"VM.Config.Cloudinit":1,"VM.Config.CDROM":1,"VM.Console":1,"VM.Audit":1,"VM.PowerMgmt":1,"VM.GuestAgent.FileWrite":1,"VM.GuestAgent.FileSystemMgmt":1,"VM.Backup":1,"VM.GuestAgent.FileRead":1}}}`},
	{reason: "no task runs", request: "GET /nodes/pve1/tasks", params: []string{"source=active"}, status: 200,
		body: `{"data":[]}`},
	{reason: "what is no UPID", request: "GET /nodes/pve1/tasks/UPID:foo/status", status: 400,
		body: `{"errors":{"upid":"unable to parse worker upid"},"message":"Parameter verification failed.\n","data":null}`},
	{reason: "a task that is not known is 400", request: "GET /nodes/pve1/tasks/UPID:pve1:00000001:00000001:6B01ED62:vzstart:101:root@pam:/status", status: 400,
		body: `{"message":"Parameter verification failed.\n","data":null,"errors":{"upid":"no such task"}}`},
	{reason: "the log of a task that is not known has one line", request: "GET /nodes/pve1/tasks/UPID:pve1:00000001:00000001:6B01ED62:vzstart:101:root@pam:/log", status: 200,
		body: `{"total":1,"data":[{"t":"unable to open file - No such file or directory","n":1}]}`},
	{reason: "a volume is made at once", request: "POST /nodes/pve1/storage/local/content", params: []string{"vmid=101", "filename=vm-101-disk-5.raw", "size=4M"}, status: 200,
		body: `{"data":"local:101/vm-101-disk-5.raw"}`},
	{reason: "deleting a volume in use is not refused", request: "DELETE /nodes/pve1/storage/local/content/local:101/vm-101-disk-0.raw", status: 200,
		body: `{"data":"UPID:pve1:imgdel:101@local:root@pam!t1:"}`},
	{reason: "a volume's deletion is a task", request: "DELETE /nodes/pve1/storage/local/content/local:101/vm-101-disk-5.raw", status: 200,
		body: `{"data":"UPID:pve1:imgdel:101@local:root@pam!t1:"}`},
	{reason: "a volume that is not there", request: "GET /nodes/pve1/storage/local/content/local:101/vm-101-disk-0.raw", status: 500,
		body: `{"data":null,"message":"volume_size_info on 'local:101/vm-101-disk-0.raw' failed - no format\n"}`},
	{reason: "a download is a task, its failure shows in there", request: "POST /nodes/pve1/storage/local/download-url", params: []string{"content=iso", "filename=y.iso", "url=http://127.0.0.1:9/y.iso"}, status: 200,
		body: `{"data":"UPID:pve1:download:y.iso:root@pam!t1:"}`},
	{reason: "the realms", request: "GET /access/domains", status: 200,
		body: `{"data":[{"comment":"Linux PAM standard authentication","realm":"pam","type":"pam"},{"realm":"pve","type":"pve","comment":"Proxmox VE authentication server"}]}`},
	{reason: "the built-in roles", request: "GET /access/roles", status: 200,
		body: `{"data":[{"privs":"Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit","special":1,"roleid":"PVEDatastoreAdmin"},{"roleid":"PVEVMAdmin","special":1,"privs":"VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback"},{"privs":"Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit,Group.Allocate,Mapping.Audit,Mapping.Use,Pool.Allocate,Pool.Audit,Realm.AllocateUser,SDN.Allocate,SDN.Audit,SDN.Use,Sys.Audit,Sys.Console,Sys.Syslog,User.Modify,VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback","special":1,"roleid":"PVEAdmin"},{"roleid":"PVEPoolAdmin","special":1,"privs":"Pool.Allocate,Pool.Audit"},{"special":1,"roleid":"PVEDatastoreUser","privs":"Datastore.AllocateSpace,Datastore.Audit"},{"roleid":"Administrator","special":1,"privs":"Datastore.Allocate,Datastore.AllocateSpace,Datastore.AllocateTemplate,Datastore.Audit,Group.Allocate,Mapping.Audit,Mapping.Modify,Mapping.Use,Permissions.Modify,Pool.Allocate,Pool.Audit,Realm.Allocate,Realm.AllocateUser,SDN.Allocate,SDN.Audit,SDN.Use,Sys.AccessNetwork,Sys.Audit,Sys.Console,Sys.Incoming,Sys.Modify,Sys.PowerMgmt,Sys.Syslog,User.Modify,VM.Allocate,VM.Audit,VM.Backup,VM.Clone,VM.Config.CDROM,VM.Config.CPU,VM.Config.Cloudinit,VM.Config.Disk,VM.Config.HWType,VM.Config.Memory,VM.Config.Network,VM.Config.Options,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.GuestAgent.Unrestricted,VM.Migrate,VM.PowerMgmt,VM.Replicate,VM.Snapshot,VM.Snapshot.Rollback"},{"privs":"SDN.Audit,SDN.Use","roleid":"PVESDNUser","special":1},{"privs":"VM.Audit,VM.Backup,VM.Config.CDROM,VM.Config.Cloudinit,VM.Console,VM.GuestAgent.Audit,VM.GuestAgent.FileRead,VM.GuestAgent.FileSystemMgmt,VM.GuestAgent.FileWrite,VM.PowerMgmt","roleid":"PVEVMUser","special":1},{"roleid":"PVESDNAdmin","special":1,"privs":"SDN.Allocate,SDN.Audit,SDN.Use"},{"roleid":"PVEUserAdmin","special":1,"privs":"Group.Allocate,Realm.AllocateUser,User.Modify"},{"privs":"Sys.Audit,Sys.Console,Sys.Syslog","roleid":"PVESysAdmin","special":1},{"privs":"VM.Audit,VM.Clone","special":1,"roleid":"PVETemplateUser"},{"privs":"Mapping.Audit,Mapping.Use","roleid":"PVEMappingUser","special":1},{"special":1,"roleid":"PVEMappingAdmin","privs":"Mapping.Audit,Mapping.Modify,Mapping.Use"},{"special":1,"roleid":"PVEPoolUser","privs":"Pool.Audit"},{"privs":"","roleid":"NoAccess","special":1},{"special":1,"roleid":"PVEAuditor","privs":"Datastore.Audit,Mapping.Audit,Pool.Audit,SDN.Audit,Sys.Audit,VM.Audit,VM.GuestAgent.Audit"}]}`},
}
