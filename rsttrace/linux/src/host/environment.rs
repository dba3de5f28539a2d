//! Detection of the cloud in which this host runs.

use std::fs;
use std::path::Path;

use crate::event::Environment;

/// Where the kernel shows what the firmware says about the machine; readable by everybody.
const DMI: &str = "/sys/class/dmi/id";

/// By the firmware alone; nothing is asked over the network. Absent if it is none of those known, or the firmware's
/// words cannot be read (many containers, machines without DMI).
pub fn of_this_host() -> Option<Environment> {
    let word = |name: &str| {
        let text = fs::read_to_string(Path::new(DMI).join(name));
        text.unwrap_or_default().trim().to_owned()
    };
    identified_by(&Words {
        sys_vendor: word("sys_vendor"),
        product_name: word("product_name"),
        chassis_asset_tag: word("chassis_asset_tag"),
        bios_vendor: word("bios_vendor"),
    })
}

/// What the firmware says, each empty if not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Words {
    sys_vendor: String,
    product_name: String,
    chassis_asset_tag: String,
    bios_vendor: String,
}

/// Azure's vendor and product are those of any Hyper-V guest, so its asset tag decides; a laptop of Google's has its
/// vendor but another product.
fn identified_by(words: &Words) -> Option<Environment> {
    /// The same on each machine of Azure.
    const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";
    let tag = words.chassis_asset_tag.as_str();
    if words.sys_vendor == "Amazon EC2" || words.bios_vendor == "Amazon EC2" {
        Some(Environment::Aws)
    } else if tag == AZURE {
        Some(Environment::Azure)
    } else if words.product_name == "Google Compute Engine" {
        Some(Environment::Gcp)
    } else if tag == "OracleCloud.com" {
        Some(Environment::Oci)
    } else if tag.eq_ignore_ascii_case("ibmcloud") {
        Some(Environment::Ibm)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_are_distinguished_from_their_look_alikes() {
        // (vendor, product, asset tag, BIOS vendor, cloud)
        #[rustfmt::skip]
        let cases = [
            ("Amazon EC2", "m7g.large", "Amazon EC2", "Amazon EC2", Some(Environment::Aws)),
            ("Microsoft Corporation", "Virtual Machine", "7783-7084-3265-9085-8269-3286-77", "American Megatrends Inc.", Some(Environment::Azure)),
            ("Google", "Google Compute Engine", "", "Google", Some(Environment::Gcp)),
            ("QEMU", "Standard PC (i440FX + PIIX, 1996)", "OracleCloud.com", "SeaBIOS", Some(Environment::Oci)),
            ("Oracle Corporation", "ORACLE SERVER X7-2c", "OracleCloud.com", "American Megatrends Inc.", Some(Environment::Oci)),
            ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "ibmcloud", "SeaBIOS", Some(Environment::Ibm)),
            // Hyper-V at home, a Chromebook, a bare QEMU, an own Oracle server, nothing readable.
            ("Microsoft Corporation", "Virtual Machine", "0000-0000-0000-0000-0000-0000-00", "American Megatrends Inc.", None),
            ("Google", "Eve", "", "coreboot", None),
            ("QEMU", "Standard PC (Q35 + ICH9, 2009)", "", "SeaBIOS", None),
            ("Oracle Corporation", "ORACLE SERVER X7-2c", "7335941EB4", "American Megatrends Inc.", None),
            ("", "", "", "", None),
        ];
        for (sys_vendor, product_name, chassis_asset_tag, bios_vendor, cloud) in cases {
            let words = Words {
                sys_vendor: sys_vendor.to_owned(),
                product_name: product_name.to_owned(),
                chassis_asset_tag: chassis_asset_tag.to_owned(),
                bios_vendor: bios_vendor.to_owned(),
            };
            assert_eq!(identified_by(&words), cloud, "{words:?}");
        }
    }
}
