"""Addresses of the papers that our plugins name, for the links of the page."""

from __future__ import annotations

ARXIV = "https://arxiv.org/abs/"
PAPERS = {
    "Aljundi, NeurIPS 2019 (GSS)": ARXIV + "1903.08671",
    "Aljundi, NeurIPS 2019 (MIR)": ARXIV + "1908.04742",
    "Aljundi, ECCV 2018 (MAS)": ARXIV + "1711.09601",
    "Bafghi, CVPR-W 2024 (block expansion)": ARXIV + "2404.17245",
    "Buzzega, NeurIPS 2020 (DER++)": ARXIV + "2004.07211",
    "Caccia, ICLR 2022 (ER-ACE)": ARXIV + "2104.05025",
    "Caccia, ICLR 2022 (ER-AML)": ARXIV + "2104.05025",
    "Chaudhry, 2019 (ER)": ARXIV + "1902.10486",
    "Chaudhry, ECCV 2018 (RWalk)": ARXIV + "1801.10112",
    "Chaudhry, ICLR 2019 (A-GEM)": ARXIV + "1812.00420",
    "Chen, ICML 2025 (backdoor adjustment)": ARXIV + "2501.15955",
    "Gao, ICCV 2023 (LAE)": ARXIV + "2303.10070",
    "Goswami, NeurIPS 2023 (FeCAM)": ARXIV + "2309.14062",
    "Hayes, CVPR-W 2020 (SLDA)": ARXIV + "1909.01520",
    "Hou, CVPR 2019 (LUCIR)": "https://doi.org/10.1109/CVPR.2019.00092",
    "Hu, ICLR 2022 (LoRA)": ARXIV + "2106.09685",
    "Huang, ECCV 2024 (RAPF)": ARXIV + "2407.14143",
    "Hui, 2024 (HFT)": ARXIV + "2404.18466",
    "Kirkpatrick, PNAS 2017": ARXIV + "1612.00796",
    "Li, ECCV 2016 (LwF)": ARXIV + "1606.09282",
    "Lopez-Paz, NeurIPS 2017 (GEM)": ARXIV + "1706.08840",
    "Lu, AAAI 2026 (ACL)": ARXIV + "2506.03956",
    "Marouf, ECCV 2024 (CoFiMA)": ARXIV + "2312.08977",
    "McDonnell, NeurIPS 2023 (RanPAC)": ARXIV + "2307.02251",
    "Menon, ICLR 2021 (LA)": ARXIV + "2007.07314",
    "Bai, NAACL Findings 2025 (mix-cd)": ARXIV + "2402.08096",
    "Nguyen, ECCV 2024 (SAFT)": ARXIV + "2407.03036",
    "Lin, 2025 (sparse memory)": ARXIV + "2510.15103",
    "Lu, NeurIPS 2024 (VPT-NSP2)": ARXIV + "2406.05658",
    "Luo, ICLR 2026 (KeepLoRA)": ARXIV + "2601.19659",
    "Marullo, 2023 (ICI)": ARXIV + "2306.02947",
    "Qiao, ICLR 2024 (PGP)": "https://openreview.net/forum?id=EH2O3h7sBI",
    "Zheng, 2024 (Fwd-Prompt)": ARXIV + "2401.09181",
    "Panos, ICCV 2023 (FSA)": ARXIV + "2303.13199",
    "Prabhu, ECCV 2020 (GDumb)": "https://doi.org/10.1007/978-3-030-58536-5_31",
    "Rebuffi, CVPR 2017 (iCaRL)": ARXIV + "1611.07725",
    "Schwarz, ICML 2018": ARXIV + "1805.06370",
    "Smith, CVPR 2023 (CODA-Prompt)": ARXIV + "2211.13218",
    "Stojanovski, 2022 (momentum interpolation)": ARXIV + "2211.03186",
    "Sun, AAAI 2025 (MOS)": ARXIV + "2412.09441",
    "Liang, CVPR 2024 (InfLoRA)": ARXIV + "2404.00228",
    "Bafghi, 2025 (Selective LoRA)": ARXIV + "2501.15377",
    "Chen, NeurIPS 2024 (MoE-LoRA)": ARXIV + "2403.08350",
    "Liu, ICLR 2024 (TAIL)": ARXIV + "2310.05905",
    "Schmied, NeurIPS 2023 (L2M)": ARXIV + "2306.14884",
    "Staniszewski, 2024 (continual LoRA)": ARXIV + "2410.04891",
    "Wu, CVPR 2019 (BiC)": ARXIV + "1905.13260",
    "Wu, ICLR 2025 (SD-LoRA)": ARXIV + "2501.13198",
    "He, CVPR 2025 (CL-LoRA)": ARXIV + "2505.24816",
    "Tan, CVPR 2024 (SSIAT)": ARXIV + "2403.19979",
    "Panariello, BMVC 2025 (MoDER)": ARXIV + "2508.16463",
    "Thengane, 2022 (Continual-CLIP)": ARXIV + "2210.03114",
    "Wang, CVPR 2022 (L2P)": ARXIV + "2112.08654",
    "Wang, CVPR 2025 (SEMA)": ARXIV + "2403.18886",
    "Wang, ECCV 2022 (FOSTER)": ARXIV + "2204.04662",
    "Wang, ECCV 2022 (DualPrompt)": ARXIV + "2204.04799",
    "Wang, ICCV 2025 (TUNA)": ARXIV + "2508.08165",
    "Wang, NeurIPS 2022 (S-Prompts)": ARXIV + "2207.12819",
    "Wang, 2024 (HiDe-PET)": ARXIV + "2407.05229",
    "Wang, NeurIPS 2023 (HiDe-Prompt)": ARXIV + "2310.07234",
    "Wistuba, 2024 (L2L)": ARXIV + "2406.03216",
    "Wistuba, 2024 (S-LoRA)": ARXIV + "2406.03216",
    "Wortsman, CVPR 2022 (WiSE-FT)": ARXIV + "2109.01903",
    "Zenke, ICML 2017 (SI)": ARXIV + "1703.04200",
    "Zhang, CVPR 2024 (SPU)": ARXIV + "2308.12462",
    "Zhang, ICCV 2023 (SLCA)": ARXIV + "2303.05118",
    "Fang, 2024 (AIR)": ARXIV + "2408.10349",
    "Momeni, AAAI 2025 (KLDA)": ARXIV + "2412.15571",
    "Prabhu, NeurIPS 2024 (RanDumb)": ARXIV + "2402.08823",
    "Zhao, CVPR 2020 (WA)": ARXIV + "1911.07053",
    "Zhao, CVPR 2026 (RSIAT)": "https://openaccess.thecvf.com/content/CVPR2026/html/Zhao_Representation-Steered_"
    "Incremental_Adapter-Tuning_for_Class-Incremental_Learning_with_Pre-Trained_Models_CVPR_2026_paper.html",
    "Zhao, ICML 2023 (FPF)": ARXIV + "2304.04158",
    "Zhao, ICML 2023 (k-FPF)": ARXIV + "2304.04158",
    "Zhou, CVPR 2024 (EASE)": ARXIV + "2403.12030",
    "Zhou, CVPR 2025 (DUCT)": ARXIV + "2410.00911",
    "Zhou, IJCV 2024 (APER)": ARXIV + "2303.07338",
    "Zhou, IJCV 2024 (SimpleCIL)": ARXIV + "2303.07338",
    "Zhuang, 2024 (G-ACIL)": ARXIV + "2403.15706",
    "Zhuang, AAAI 2024 (DS-AL)": "https://doi.org/10.1609/aaai.v38i15.29670",
    "Zhuang, NeurIPS 2022 (ACIL)": ARXIV + "2205.14922",
    "Zou, ICLR 2026 (Fly-CL)": ARXIV + "2510.16877",
    "Yu, CVPR 2024 (MoE-Adapters)": ARXIV + "2403.11549",
    "Zheng, ICCV 2023 (ZSCL)": ARXIV + "2303.06628",
}
"""The address of each paper, by its name in the plugins' traits. A record cannot add one: all links are ours."""


NO_PAPERS = frozenset({"lower bound", "upper bound", "baseline"})
"""What the traits of plugins without a paper say instead."""


def linked(papers: str) -> dict[str, str]:
    """The address of each of some papers.

    Args:
        papers: Names as in a plugin's traits, separated by semicolons.

    Returns:
        The address by name, in the same order; empty if none is known.
    """
    return {name: PAPERS.get(name, "") for name in papers.split("; ") if name and name not in NO_PAPERS}
