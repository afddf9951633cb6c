"""Prompts for SAM: sampled points (point_sampling), the rules of --prompt (rules), and what one
decoder pass gets (sam_prompt).
"""
