// SPDX-FileCopyrightText: The Phoenix Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Docker is an engine in a Guest.
// +kubebuilder:validation:XValidation:rule="!has(self.repository) || (has(self.packageName) && self.packageName == 'docker-ce')",message="repository belongs to packageName docker-ce: docker.io comes from the distribution"
// +kubebuilder:validation:XValidation:rule="has(self.dataRoot) == has(oldSelf.dataRoot) && (!has(self.dataRoot) || self.dataRoot == oldSelf.dataRoot)",message="dataRoot cannot be changed: what is there would be left behind; move it by hand, and make a new HostService"
type Docker struct {
	// packageName is docker.io (default), which the distribution has, or docker-ce, which Docker's own repository has.
	// +optional
	// +kubebuilder:validation:Enum=docker.io;docker-ce
	PackageName string `json:"packageName,omitempty"`
	// repository that has docker-ce. Unset: the machine has it already.
	// +optional
	Repository *AptRepository `json:"repository,omitempty"`
	// dataRoot is where images, containers and volumes are. When it is on a mount, the engine starts after that. It cannot be changed.
	// Default: /var/lib/docker.
	// +optional
	DataRoot MachinePath `json:"dataRoot,omitempty"`
	// logs bounds what the containers' output takes.
	// +optional
	Logs *DockerLogs `json:"logs,omitempty"`
	// liveRestore keeps containers running while the engine restarts. Default: true.
	// +optional
	LiveRestore *bool `json:"liveRestore,omitempty"`
	// registryMirrors are asked before Docker Hub.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.all(u, u.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?$'))",message="registryMirrors must be URLs without a path, for example https://mirror.phoenix.lan"
	RegistryMirrors []string `json:"registryMirrors,omitempty"`
	// addressPools are where networks of containers get their addresses. Default: the engine's own.
	// +optional
	// +listType=map
	// +listMapKey=base
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	AddressPools []DockerAddressPool `json:"addressPools,omitempty"`
	// dnsServers that containers ask. Default: those of the machine.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=45
	// +kubebuilder:validation:XValidation:rule="self.all(a, isIP(a))",message="dnsServers must be IP addresses, for example 10.0.0.13"
	DNSServers []string `json:"dnsServers,omitempty"`
}

// AptRepository is a repository of Debian packages.
type AptRepository struct {
	// url of the repository.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[-A-Za-z0-9._~/]*)?$')",message="url must begin with http:// or https://, for example https://download.docker.com/linux/debian"
	URL string `json:"url,omitempty"`
	// suite of the repository, such as bookworm.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9][-A-Za-z0-9._/]*$')",message="suite must be a suite's name, for example bookworm"
	Suite string `json:"suite,omitempty"`
	// components of the suite. Default: stable.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.all(c, c.matches('^[A-Za-z0-9][-A-Za-z0-9._]*$'))",message="components must be names, for example stable"
	Components []string `json:"components,omitempty"`
	// key that signs the repository: an OpenPGP public key in ASCII armor.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32768
	// +kubebuilder:validation:XValidation:rule="self.startsWith('-----BEGIN PGP PUBLIC KEY BLOCK-----') && self.trim().endsWith('-----END PGP PUBLIC KEY BLOCK-----')",message="key must be an OpenPGP public key in ASCII armor, from BEGIN PGP PUBLIC KEY BLOCK to END PGP PUBLIC KEY BLOCK"
	Key string `json:"key,omitempty"`
}

// DockerLogs bounds the output of each container that is kept.
type DockerLogs struct {
	// maxSizeMiB of one file. Default: 10.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10240
	MaxSizeMiB int32 `json:"maxSizeMiB,omitempty"`
	// maxFiles that are kept. Default: 3.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	MaxFiles int32 `json:"maxFiles,omitempty"`
}

// DockerAddressPool is a range of addresses from which networks are cut.
// +kubebuilder:validation:XValidation:rule="isCIDR(self.base) && cidr(self.base).prefixLength() <= self.size",message="size must not be smaller than the prefix length of base"
type DockerAddressPool struct {
	// base is the range, in CIDR form.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="base must be a range, for example 172.30.0.0/16"
	Base string `json:"base,omitempty"`
	// size is the prefix length of one network.
	// +required
	// +kubebuilder:validation:Minimum=8
	// +kubebuilder:validation:Maximum=128
	Size int32 `json:"size,omitempty"`
}

// DockerImage is an image, and where it comes from.
// +kubebuilder:validation:XValidation:rule="!has(self.archive) || !self.name.contains('@')",message="name of an archive's image must be a tag without a digest: sha256 of the archive pins it"
type DockerImage struct {
	// name of the image, best with its digest, such as portainer/portainer-ce:2.23.0@sha256:...
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]+([._-]+[a-z0-9]+)*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?$')",message="name must be that of an image, for example portainer/portainer-ce:2.23.0"
	Name string `json:"name,omitempty"`
	// archive has the image, as docker save writes it: for a site without a way to a registry. Unset: the engine pulls it.
	// +optional
	Archive *ImageArchive `json:"archive,omitempty"`
}

// ImageArchive is a file with an image, as docker save writes it, that the machine downloads.
type ImageArchive struct {
	// url of the archive. Without https, sha256 still pins what is taken.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/[-A-Za-z0-9._~/%+,=:?&@]*$')",message="url must begin with http:// or https:// and hold no credentials, for example https://mirror.lan/portainer.tar"
	URL string `json:"url,omitempty"`
	// sha256 of what the URL gives, 64 hexadecimal digits.
	// +required
	// +kubebuilder:validation:MinLength=64
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9a-f]{64}$')",message="sha256 must be 64 hexadecimal digits in lower case, as sha256sum prints them"
	SHA256 string `json:"sha256,omitempty"`
}
